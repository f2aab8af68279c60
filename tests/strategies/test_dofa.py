"""DOFA: the published files' keys, its kernels from wavelengths, its grids, and what it refuses."""

import json
from importlib.resources import files

import numpy as np
import pytest
import torch

from strategies._base import StrategyError
from strategies.adaptation import trainable_parameters
from strategies.backbones import _weights
from strategies.backbones._loading import apply_state_dict, make_architecture
from strategies.backbones._positions import resized_positions, sincos_positions
from strategies.backbones.dofa import make_dofa
from strategies.cross_domain.dofa import DOFA

SIZES = {"base": (768, 12), "large": (1024, 24)}
NUM_CLASSES = 5


def encoder_keys(width, depth):
    """Keys and shapes of the encoder, as the reference of the published files has them."""
    keys = {
        "cls_token": [1, 1, width],
        "pos_embed": [1, 197, width],
        "patch_embed.weight_generator.weight_tokens": [128, 128],
        "patch_embed.weight_generator.bias_token": [1, 128],
        "patch_embed.weight_generator.fc_weight.weight": [16 * 16 * width, 128],
        "patch_embed.weight_generator.fc_weight.bias": [16 * 16 * width],
        "patch_embed.weight_generator.fc_bias.weight": [width, 128],
        "patch_embed.weight_generator.fc_bias.bias": [width],
    }
    layer = "patch_embed.weight_generator.transformer_encoder.layers.0."
    keys |= {
        layer + "self_attn.in_proj_weight": [384, 128],
        layer + "self_attn.in_proj_bias": [384],
        layer + "self_attn.out_proj.weight": [128, 128],
        layer + "self_attn.out_proj.bias": [128],
        layer + "linear1.weight": [2048, 128],
        layer + "linear1.bias": [2048],
        layer + "linear2.weight": [128, 2048],
        layer + "linear2.bias": [128],
    }
    for norm in ("norm1", "norm2"):
        keys |= {f"{layer}{norm}.weight": [128], f"{layer}{norm}.bias": [128]}
    for linear in ("w1", "w2"):
        keys |= {f"patch_embed.fclayer.{linear}.weight": [128, 128], f"patch_embed.fclayer.{linear}.bias": [128]}
    for block in range(depth):
        for norm in ("norm1", "norm2"):
            keys |= {f"blocks.{block}.{norm}.weight": [width], f"blocks.{block}.{norm}.bias": [width]}
        for name, rows, columns in (
            ("attn.qkv", 3 * width, width),
            ("attn.proj", width, width),
            ("mlp.fc1", 4 * width, width),
            ("mlp.fc2", width, 4 * width),
        ):
            keys |= {f"blocks.{block}.{name}.weight": [rows, columns], f"blocks.{block}.{name}.bias": [rows]}
    return keys


def dropped_keys(width):
    """What the authors' file holds beside it, by their README; the projector's size follows from the file's."""
    return {
        "mask_token": [1, 1, width],
        "norm.weight": [width],
        "norm.bias": [width],
        "projector.weight": [width, width],
        "projector.bias": [width],
    }


def manifest(size, release):
    """What the manifest of a published file has to say. To write it: json.dumps of this."""
    width, depth = SIZES[size]
    keys = [[name, shape, "encoder"] for name, shape in encoder_keys(width, depth).items()]
    source = "encoder: formulae in tests/strategies/test_dofa.py, after the published classes and torchgeo's checks"
    if release == "original":
        keys += [[name, shape, "dropped"] for name, shape in dropped_keys(width).items()]
        source += "; dropped keys: names from the authors' README, shapes assumed"
    return {"source": source, "keys": keys}


@pytest.mark.parametrize("release", ["torchgeo", "original"])
@pytest.mark.parametrize("size", list(SIZES))
def test_every_key_of_the_published_encoder_has_its_place_and_shape_and_no_other(size, release):
    spec = _weights.get_spec(f"dofa_{size}" if release == "torchgeo" else f"dofa_{size}_original")
    stored = json.loads(files("strategies.backbones").joinpath("manifests", spec.manifest).read_text())
    assert stored == manifest(size, release)
    model = make_architecture(spec, on_meta=True)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert {key: list(tensor.shape) for key, tensor in model.state_dict().items()} == encoder_keys(*SIZES[size])
    tensors = {name: torch.empty(shape, device="meta") for name, shape, _ in stored["keys"]}
    report = apply_state_dict(tensors, model, spec, source="manifest")
    assert report.share_of_backbone == 1.0
    assert set(report.keys_dropped) == (set() if release == "torchgeo" else set(dropped_keys(SIZES[size][0])))


@pytest.mark.parametrize(("key", "words"), [("norm_pre.weight", "unexpected"), ("", "missing")])
def test_a_file_with_another_key_or_without_one_is_refused(key, words):
    spec = _weights.get_spec("dofa_base")
    tensors = {name: torch.empty(shape, device="meta") for name, shape in encoder_keys(*SIZES["base"]).items()}
    if key:
        tensors[key] = torch.empty(1, device="meta")
    else:
        del tensors["patch_embed.fclayer.w1.bias"]
    with pytest.raises(StrategyError, match=words):
        apply_state_dict(tensors, make_architecture(spec, on_meta=True), spec, source="file")


def make(**values):
    return DOFA(**{"size": "reduced", "init": "random", "regime": "full", "head": "linear", **values})


def build(strategy, num_bands, low_nm=450.0, high_nm=960.0):
    wavelengths_nm = np.linspace(low_nm, high_nm, num_bands).tolist()
    return strategy.build(num_bands=num_bands, wavelengths_nm=wavelengths_nm, num_classes=NUM_CLASSES, image_size=32)


@pytest.mark.parametrize("num_bands", [1, 15, 25, 128, 200])
def test_any_number_of_bands_is_taken_forward_and_backward(num_bands):
    model = build(make(), num_bands)
    logits = model(torch.randn(2, num_bands, 19, 33))
    assert logits.shape == (2, NUM_CLASSES, 19, 33)
    logits.square().mean().backward()
    generator = model.backbone.patch_embed.weight_generator
    assert float(generator.fc_weight.weight.grad.abs().sum()) > 0
    assert len(model.backbone(torch.randn(1, num_bands, 32, 48))) == 4


def test_the_same_weights_serve_bands_in_any_order():
    """The kernel of a band follows from its wavelength: bands and centres moved together change nothing."""
    model = make_dofa("reduced", [500.0, 600.0, 700.0, 900.0]).eval()
    moved = make_dofa("reduced", [900.0, 500.0, 700.0, 600.0]).eval()
    moved.load_state_dict(model.state_dict())
    x = torch.randn(1, 4, 32, 32)
    with torch.no_grad():
        levels, others = model(x), moved(x[:, [3, 0, 2, 1]])
        wrong = moved(x)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(levels, others, strict=True))
    assert not torch.allclose(levels[-1], wrong[-1], atol=1e-3)


def test_shuffled_wavelengths_change_what_the_model_is_told_and_nothing_else():
    torch.manual_seed(3)
    true = build(make(), 15)
    torch.manual_seed(3)
    shuffled = build(make(wavelengths="shuffled"), 15)
    assert all(torch.equal(a, b) for a, b in zip(true.parameters(), shuffled.parameters(), strict=True))
    told = [model.backbone.patch_embed.codes_CF for model in (true, shuffled)]
    assert not torch.equal(*told)
    assert torch.equal(told[0].sort(dim=0).values, told[1].sort(dim=0).values)


def test_positions_are_the_trained_ones_at_224_pixels_and_interpolated_elsewhere():
    table = sincos_positions((14, 14), 32)
    assert resized_positions(table, (14, 14), (14, 14)) is table
    wide = resized_positions(table, (14, 14), (7, 28))
    assert wide.shape == (1, 1 + 7 * 28, 32)
    assert torch.equal(wide[:, 0], table[:, 0])
    # the first eight channels are the column's sines: rows agree, and neighbours lie between the trained columns
    columns = wide[0, 1:, :8].view(7, 28, 8)
    assert torch.allclose(columns[0], columns[3], atol=1e-5)
    whole = make_dofa("reduced").patch_embed(torch.randn(1, 3, 224, 224))
    assert whole.shape[-2:] == (14, 14)


@pytest.mark.parametrize("enlarge", [1, 2, 3])
@pytest.mark.parametrize("size_px", [(16, 16), (17, 40), (5, 31)])
def test_the_announced_feature_shapes_are_those_of_the_frozen_part(size_px, enlarge):
    strategy = make(regime="frozen", enlarge=enlarge)
    model = build(strategy, 4).eval()
    with torch.no_grad():
        found = model.features(torch.randn(1, 4, *size_px))
    assert tuple(tuple(level.shape[1:]) for level in found) == strategy.cached_features(*size_px)
    assert make(regime="full").cached_features(*size_px) is None


def test_low_rank_updates_sit_on_attention_only():
    model = build(make(regime="lora"), 6)
    trained = [key for key in trainable_parameters(model) if key.startswith("backbone")]
    assert {key.split(".parametrizations")[0].split(".", 3)[3] for key in trained} == {"attn.qkv", "attn.proj"}
    assert len(trained) == 4 * 2 * 2


@pytest.mark.parametrize(
    ("wavelengths_nm", "words"),
    [
        (None, "wavelengths are unknown"),
        ([0.47, 0.55, 0.64], "looks like micrometres"),
        ([470.0, 550.0, 3400.0], "drop these bands"),
        ([470.0, 550.0], "2 wavelengths for 3 bands"),
    ],
)
def test_bands_that_it_cannot_be_told_about_are_refused(wavelengths_nm, words):
    with pytest.raises(StrategyError, match=words):
        make().build(num_bands=3, wavelengths_nm=wavelengths_nm, num_classes=2, image_size=32)


def test_each_size_and_release_names_its_own_file():
    names = {DOFA(size=size, release=release).weights_name() for size in SIZES for release in ("torchgeo", "original")}
    assert names == {"dofa_base", "dofa_large", "dofa_base_original", "dofa_large_original"}
    assert names <= set(_weights.list_weights())
    with pytest.raises(StrategyError, match="size 'reduced' has no weights"):
        DOFA(size="reduced")
