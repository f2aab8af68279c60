"""timm's models as strategies: facts and keys of the published files, inputs of many bands, regimes, refusals."""

import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models._manipulate import adapt_input_conv

from strategies._base import StrategyError
from strategies.adaptation import trainable_parameters
from strategies.backbones import _weights
from strategies.backbones._loading import make_architecture
from strategies.backbones._specs.timm_vision import LISTED, SPECS, _asked
from strategies.backbones._synthetic import read_manifest
from strategies.backbones.band_inputs import PrincipalComponents
from strategies.backbones.rgb_stems import ColourProjection, fit_stem
from strategies.backbones.timm_backbones import IMAGENET_MEAN, IMAGENET_STD, TimmLevels
from strategies.cross_modality.timm_vision import TimmVision

INPUTS = ("pseudo_rgb", "pca3", "projection", "inflation", "wavelength_inflation")
WAVELENGTHS = {bands: np.linspace(430, 900, bands).tolist() for bands in (15, 25, 128, 200)}
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
SMALL = "test_resnet.r160_in1k"
"""One of timm's own tiny models for tests; no facts of it are listed."""


def build(bands=15, wavelengths="known", **values):
    fields = {"init": "random", **({"size": "reduced"} if "model" not in values else {}), **values}
    given = WAVELENGTHS[bands] if wavelengths == "known" else wavelengths
    return TimmVision(**fields).build(num_bands=bands, wavelengths_nm=given, num_classes=4, image_size=32)


# --- facts and keys ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listed", [one for one in LISTED if "_base_" not in one.model], ids=lambda one: one.model)
def test_what_is_listed_is_what_timm_makes(listed):
    asked, config = _asked(listed.model)
    assert (listed.parameters, listed.channels, listed.strides) == (asked.parameters, asked.channels, asked.strides)
    assert all(any(key.split(".")[0] == prefix for prefix in listed.dropped) for key in asked.dropped)
    assert listed.licence.lower() == asked.licence
    spec = _weights.get_spec(f"timm:{listed.model}")
    assert spec.huggingface == (config["hf_hub_id"], "model.safetensors", "main")


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_every_key_of_the_published_file_is_used_or_dropped_by_name(spec):
    keys = read_manifest(spec.manifest)
    with torch.device("meta"):
        whole = timm.create_model(spec.name.removeprefix("timm:"), pretrained=False).state_dict()
    assert {key.name: key.shape for key in keys} == {name: tuple(value.shape) for name, value in whole.items()}
    model = make_architecture(spec, on_meta=True)
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert {key.name: key.shape for key in keys if key.kind == "encoder"} == wanted
    assert sum(int(np.prod(key.shape)) for key in keys if not key.name.endswith(STATISTICS)) == spec.parameters
    dropped = {key.name for key in keys if key.kind == "dropped"}
    assert {name.split(".")[0] for name in dropped} == set(spec.dropped)


@pytest.mark.parametrize(("size", "width"), [("small", 384), ("base", 768)])
def test_dinov2_has_the_keys_and_shapes_of_its_paper(size, width):
    tokens = (518 // 14) ** 2
    expected = {
        "cls_token": (1, 1, width),
        "reg_token": (1, 4, width),
        "pos_embed": (1, tokens, width),
        "patch_embed.proj.weight": (width, 3, 14, 14),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    for block in range(12):
        for name, rows, columns in (("attn.qkv", 3, 1), ("attn.proj", 1, 1), ("mlp.fc1", 4, 1), ("mlp.fc2", 1, 4)):
            expected[f"blocks.{block}.{name}.weight"] = (rows * width, columns * width)
            expected[f"blocks.{block}.{name}.bias"] = (rows * width,)
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "ls1.gamma", "ls2.gamma"):
            expected[f"blocks.{block}.{name}"] = (width,)
    spec = _weights.get_spec(f"timm:vit_{size}_patch14_reg4_dinov2.lvd142m")
    assert {key.name: key.shape for key in read_manifest(spec.manifest)} == expected


def test_weights_of_dinov3_need_consent_and_those_of_dinov2_do_not():
    consent = {spec.name: spec.consent for spec in SPECS}
    assert consent["timm:vit_small_patch16_dinov3.lvd1689m"] == "dinov3"
    assert consent["timm:vit_small_patch14_reg4_dinov2.lvd142m"] == ""


@pytest.mark.parametrize(
    ("model", "licence", "consent"),
    [
        ("test_vit.r160_in1k", "Apache-2.0", ""),
        ("convnextv2_atto.fcmae", "cc-by-nc-4.0", "cc-by-nc-4.0"),
    ],
)
def test_a_licence_that_is_not_permissive_needs_consent_in_any_model_of_timm(model, licence, consent):
    spec = _weights.get_spec(f"timm:{model}")
    assert (spec.licence_weights, spec.consent) == (licence, consent)


def test_planning_with_a_listed_model_asks_neither_timm_nor_torch():
    code = (
        "import sys\n"
        "from strategies.cross_modality.timm_vision import TimmVision\n"
        "from strategies.backbones._weights import get_spec\n"
        "made = TimmVision(model='resnet50.a1_in1k')\n"
        "made.check_sensor(15, None), made.cached_features(145, 145), get_spec(made.pretraining.weights)\n"
        "print([name for name in ('torch', 'timm') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_model_that_is_not_listed_loads_its_file_whole(tmp_path):
    spec = _weights.get_spec(f"timm:{SMALL}")
    assert (spec.huggingface[0], spec.datasets) == (f"timm/{SMALL}", ("imagenet_1k",))
    published = timm.create_model(SMALL, pretrained=False)
    save_file(published.state_dict(), tmp_path / "model.safetensors")
    strategy = TimmVision(model=SMALL, regime="full", input="pca3")
    model = strategy.build(
        num_bands=15,
        wavelengths_nm=None,
        num_classes=4,
        image_size=32,
        weights_path=str(tmp_path / "model.safetensors"),
    )
    own = model.backbone.model.state_dict()
    assert set(own) == {key for key in published.state_dict() if not key.startswith("fc.")}
    assert all(torch.equal(value, published.state_dict()[key]) for key, value in own.items())
    picture = torch.rand(1, 3, 64, 96)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        levels = model.eval().backbone((picture - mean) / std)
        # this model was trained on pictures that were standardised otherwise
        expected = published.eval().forward_features((picture - 0.5) / 0.5)
    torch.testing.assert_close(levels[-1], expected, atol=1e-4, rtol=1e-4)
    assert [level.shape[-1] for level in levels] == [24, 12, 6, 3]


def test_pretraining_is_that_of_the_model():
    assert TimmVision.pretraining.datasets == ("lvd_142m",)
    assert not TimmVision().pretraining.supervised
    other = TimmVision(model="convnext_tiny.in12k_ft_in1k")
    assert (other.pretraining.weights, other.pretraining.datasets) == (
        "timm:convnext_tiny.in12k_ft_in1k",
        ("imagenet_12k", "imagenet_1k"),
    )


# --- inputs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("bands", [15, 25, 128, 200])
def test_every_input_takes_any_number_of_bands_forwards_and_backwards(kind, bands):
    model = build(bands, input=kind, regime="full", head="linear")
    fit_stem(model, np.random.default_rng(0).normal(size=(50, bands)).astype(np.float32))
    logits = model.train()(torch.randn(1, bands, 19, 8))
    assert logits.shape == (1, 4, 19, 8)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_plain_inflation_is_that_of_timm():
    torch.manual_seed(0)
    original = TimmLevels("reduced").model.patch_embed.proj
    torch.manual_seed(0)
    model = build(25, input="inflation")
    torch.testing.assert_close(model.stem.weight, adapt_input_conv(25, original.weight))


def test_inflation_by_wavelength_starts_as_the_colours_seen_by_the_original_model():
    torch.manual_seed(0)
    wide = build(25, input="wavelength_inflation").eval()
    torch.manual_seed(0)
    three = build(25, input="projection").eval()
    with torch.no_grad():
        colours = torch.from_numpy(three.stem.colours_3C).float()
        three.stem.weight.copy_(colours[:, :, None, None])
        three.stem.bias.zero_()
        # the reduced model's own statistics are not ImageNet's
        three.backbone.gain.fill_(1.0), three.backbone.offset.zero_()
        x = torch.randn(1, 25, 24, 40)
        for ours, expected in zip(wide.features(x), three.features(x), strict=True):
            torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


def test_a_colour_weighs_the_bands_near_it_most():
    projection = ColourProjection(25, WAVELENGTHS[25])
    peaks = [WAVELENGTHS[25][band] for band in projection.colours_3C.argmax(1)]
    np.testing.assert_allclose(peaks, (640, 550, 460), atol=11)
    np.testing.assert_allclose(projection.colours_3C.sum(1), 1)


@pytest.mark.parametrize("kind", ["pseudo_rgb", "pca3", "projection"])
def test_three_channels_start_as_a_standardised_picture(kind, indian_pines):
    spectra = indian_pines[0][::4, ::4, ::8].reshape(-1, 25) * 3 + 5
    model = build(25, input=kind)
    TimmVision(input=kind).initialise_from_data(model, spectra)
    with torch.no_grad():
        shown = model.stem(torch.from_numpy(spectra)[:, :, None, None])[..., 0, 0]
    torch.testing.assert_close(shown.mean(0), torch.zeros(3), atol=2e-3, rtol=0)
    torch.testing.assert_close(shown.std(0), torch.ones(3), atol=2e-3, rtol=0)


@pytest.mark.parametrize("wavelengths", [None, np.linspace(1200, 2400, 25).tolist()])
def test_without_visible_bands_the_projection_starts_from_principal_components(wavelengths, indian_pines):
    spectra = indian_pines[0][::4, ::4, ::8].reshape(-1, 25)
    projection, components = ColourProjection(25, wavelengths), PrincipalComponents(25, 3)
    projection.fit(spectra)
    components.fit(spectra)
    ours = torch.nn.functional.normalize(projection.weight.detach()[:, :, 0, 0], dim=1)
    torch.testing.assert_close(ours, components.axes, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("values", "wavelengths", "text"),
    [
        ({"input": "pseudo_rgb"}, None, "chooses bands by wavelength"),
        ({"input": "wavelength_inflation"}, None, "weighs bands by their wavelength"),
        ({"input": "wavelength_inflation"}, (1500.0, 1600.0, 1700.0), "these are 1500 to 1700"),
    ],
)
def test_a_sensor_that_an_input_cannot_use_is_refused_when_planning(values, wavelengths, text):
    with pytest.raises(StrategyError, match=text):
        TimmVision(**values).check_sensor(3, wavelengths)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"model": "hf-hub:someone/model"}, "no name of timm's"),
        ({"regime": "stem", "input": "pca3"}, "has no weights; allowed"),
        ({"rgb_bands": "1,2,3"}, "is for input pseudo_rgb"),
        ({"size": "reduced"}, "has no weights; allowed: init random"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(values, text):
    with pytest.raises(StrategyError, match=text):
        TimmVision(**values)


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("resnet5O", "the nearest are: resnet"),
        ("beit_base_patch16_224", "does not take images of any size"),
        ("samvit_base_patch16", r"instead of \[768"),
    ],
)
def test_a_model_that_cannot_be_used_is_refused_with_the_reason(model, text):
    with pytest.raises(StrategyError, match=text):
        build(model=model)


def test_one_small_patch_is_too_little_for_batch_norm():
    model = build(model=SMALL, regime="full", input="pca3")
    with pytest.raises(StrategyError, match="too little to train the BatchNorm"):
        model.train()(torch.rand(1, 15, 20, 20))
    model.train()(torch.rand(2, 15, 20, 20))


# --- regimes -------------------------------------------------------------------------------------------------------


def step(strategy, model, bands=15):
    optimiser = torch.optim.AdamW(strategy.parameter_groups(model), lr=0.1)
    model.train()(torch.randn(2, bands, 24, 24)).square().sum().backward()
    optimiser.step()


@pytest.mark.parametrize(
    "values", [{"input": "inflation"}, {"input": "pseudo_rgb"}, {"model": SMALL, "input": "inflation"}]
)
def test_a_frozen_backbone_stays_bit_identical(values):
    model = build(regime="frozen", **values)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    step(TimmVision(regime="frozen"), model)
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed
    assert all(key.startswith("head.") for key in changed)


def test_inflation_is_the_input_layer_and_trains_in_the_regime_stem():
    model = build(regime="stem", input="inflation", model=SMALL)
    names = {name for name in trainable_parameters(model) if not name.startswith("head")}
    assert names == {"stem.weight"}


def test_lora_updates_attention_alone_and_not_the_patch_embedding_whose_name_ends_alike():
    model = build(regime="lora")
    updated = {
        name.removeprefix("backbone.model.").split(".parametrizations")[0]
        for name in trainable_parameters(model)
        if name.startswith("backbone")
    }
    assert updated == {f"blocks.{block}.attn.{part}" for block in range(4) for part in ("qkv", "proj")}
    assert not model.backbone.model.patch_embed.proj.weight.requires_grad


def test_the_shapes_of_cached_features_are_told_before_the_model_is_built():
    for values in ({}, {"enlarge": 2}, {"model": SMALL}):
        fields = {"init": "random", "regime": "frozen", **({} if "model" in values else {"size": "reduced"}), **values}
        strategy, model = TimmVision(**fields), build(regime="frozen", **values)
        with torch.no_grad():
            levels = model.eval().features(torch.rand(1, 15, 45, 33))
        assert strategy.cached_features(45, 33) == tuple(tuple(level.shape[1:]) for level in levels)
    assert TimmVision(regime="lora").cached_features(45, 33) is None
