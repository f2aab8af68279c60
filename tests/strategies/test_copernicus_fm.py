"""Copernicus-FM through torchgeo: the published file's keys, parity with torchgeo's own forward, what it refuses."""

import importlib.util
import json
from importlib.resources import files

import pytest
import torch

from strategies._base import StrategyError
from strategies.backbones import _weights
from strategies.backbones._loading import apply_state_dict, make_architecture
from strategies.cross_domain.copernicus_fm import CopernicusFM

WIDTH, DEPTH = 768, 12
NUM_CLASSES = 5
needs_torchgeo = pytest.mark.skipif(importlib.util.find_spec("torchgeo") is None, reason="torchgeo is not installed")


def embedding_keys(prefix):
    """A network that makes kernels."""
    generator = f"{prefix}.weight_generator"
    layer = f"{generator}.transformer_encoder.layers.0"
    shapes = {
        f"{generator}.fc_weight": (16 * 16 * WIDTH, 128),
        f"{generator}.fc_bias": (WIDTH, 128),
        f"{layer}.self_attn.out_proj": (128, 128),
        f"{layer}.linear1": (2048, 128),
        f"{layer}.linear2": (128, 2048),
        f"{prefix}.fclayer.w1": (128, 128),
        f"{prefix}.fclayer.w2": (128, 128),
    }
    return linear_keys(shapes) | {
        f"{generator}.weight_tokens": [128, 128],
        f"{generator}.bias_token": [1, 128],
        f"{layer}.self_attn.in_proj_weight": [384, 128],
        f"{layer}.self_attn.in_proj_bias": [384],
        **{f"{layer}.{norm}.{key}": [128] for norm in ("norm1", "norm2") for key in ("weight", "bias")},
    }


def linear_keys(shapes):
    keys = {f"{name}.weight": list(shape) for name, shape in shapes.items()}
    return keys | {f"{name}.bias": [shape[0]] for name, shape in shapes.items()}


def encoder_keys():
    """Keys and shapes of what takes spectral bands, as the published class has them."""
    keys = {name: [1, 1, WIDTH] for name in ("cls_token", "coord_token", "scale_token", "time_token")}
    keys |= {"pos_embed": [1, 197, WIDTH]} | embedding_keys("patch_embed_spectral")
    keys |= linear_keys({f"{name}_fc": (WIDTH, WIDTH) for name in ("coord", "scale", "time")})
    for block in (f"blocks.{number}" for number in range(DEPTH)):
        keys |= {f"{block}.{norm}.{key}": [WIDTH] for norm in ("norm1", "norm2") for key in ("weight", "bias")}
        keys |= linear_keys(
            {
                f"{block}.attn.qkv": (3 * WIDTH, WIDTH),
                f"{block}.attn.proj": (WIDTH, WIDTH),
                f"{block}.mlp.fc1": (4 * WIDTH, WIDTH),
                f"{block}.mlp.fc2": (WIDTH, 4 * WIDTH),
            }
        )
    return keys


def manifest():
    """What the manifest of the published file has to say. To write it: json.dumps of this."""
    other = embedding_keys("patch_embed_variable") | linear_keys({"patch_embed_variable.language_proj": (128, 2048)})
    return {
        "source": "formulae in tests/strategies/test_copernicus_fm.py, after torchgeo's class and its checks",
        "keys": [[name, shape, "encoder"] for name, shape in encoder_keys().items()]
        + [[name, shape, "dropped"] for name, shape in other.items()],
    }


def make(**values):
    return CopernicusFM(**{"size": "reduced", "init": "random", "regime": "full", "head": "linear", **values})


def build(strategy, num_bands):
    wavelengths_nm = torch.linspace(450, 960, num_bands).tolist()
    return strategy.build(num_bands=num_bands, wavelengths_nm=wavelengths_nm, num_classes=NUM_CLASSES, image_size=32)


def test_the_manifest_is_that_of_the_published_class():
    spec = _weights.get_spec("copernicus_fm_base")
    stored = json.loads(files("strategies.backbones").joinpath("manifests", spec.manifest).read_text())
    assert stored == manifest()


@needs_torchgeo
def test_every_key_of_the_published_encoder_has_its_place_and_shape_and_no_other():
    spec = _weights.get_spec("copernicus_fm_base")
    model = make_architecture(spec, on_meta=True)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert {key: list(tensor.shape) for key, tensor in model.state_dict().items()} == encoder_keys()
    tensors = {name: torch.empty(shape, device="meta") for name, shape, _ in manifest()["keys"]}
    report = apply_state_dict(tensors, model, spec, source="manifest")
    assert report.share_of_backbone == 1.0
    assert all(key.startswith("patch_embed_variable.") for key in report.keys_dropped)


@needs_torchgeo
@pytest.mark.parametrize("num_bands", [1, 15, 25, 128, 200])
def test_any_number_of_bands_is_taken_forward_and_backward(num_bands):
    model = build(make(), num_bands)
    logits = model(torch.randn(2, num_bands, 19, 33))
    assert logits.shape == (2, NUM_CLASSES, 19, 33)
    logits.square().mean().backward()
    assert float(model.backbone.patch_embed_spectral.weight_generator.fc_weight.weight.grad.abs().sum()) > 0
    assert all(parameter.grad is not None for parameter in model.parameters())


@needs_torchgeo
@pytest.mark.parametrize("num_bands", [4, 21])
def test_every_tap_is_that_of_torchgeos_own_forward_on_a_shared_random_state(num_bands):
    from torchgeo.models import CopernicusFM as Published

    from strategies.backbones.copernicus_fm import make_copernicus_fm

    centres_nm = torch.linspace(400, 1029, num_bands).tolist()
    widths_nm = torch.linspace(2.5, 40, num_bands).tolist()
    theirs = Published(embed_dim=32, depth=4, num_heads=4).eval()
    ours = make_copernicus_fm("reduced", centres_nm, widths_nm).eval()
    outputs = []
    for block in theirs.blocks:
        block.register_forward_hook(lambda _module, _given, tokens: outputs.append(tokens))
    x_BCHW = torch.randn(2, num_bands, 224, 224)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.3 if parameter.ndim > 1 else 1.0))
        left = ours.load_state_dict(theirs.state_dict(), strict=False)
        assert not left.missing_keys
        theirs(x_BCHW, torch.full((2, 4), float("nan")), centres_nm, widths_nm)
        for level, tokens in zip(ours(x_BCHW), outputs, strict=True):
            expected = tokens[:, 1:].transpose(1, 2).reshape(level.shape)
            assert float((level - expected).abs().max() / expected.abs().max()) < 1e-5


@needs_torchgeo
def test_bandwidths_come_from_the_spacing_of_bands_or_from_the_field():
    codes = {width: build(make(bandwidth_nm=width), 4).backbone.codes_CF for width in (0.0, 170.0, 40.0)}
    # four bands from 450 to 960 nm are 170 nm apart
    assert torch.allclose(codes[0.0], codes[170.0], atol=1e-4)
    assert not torch.allclose(codes[0.0], codes[40.0], atol=1e-2)
    shuffled = build(make(wavelengths="shuffled", bandwidth_nm=40.0), 4).backbone.codes_CF
    assert torch.equal(shuffled.sort(dim=0).values, codes[40.0].sort(dim=0).values)
    assert not torch.equal(shuffled, codes[40.0])


@needs_torchgeo
def test_the_announced_feature_shapes_are_those_of_the_frozen_part():
    strategy = make(regime="frozen", enlarge=2)
    with torch.no_grad():
        found = build(strategy, 4).features(torch.randn(1, 4, 17, 40))
    assert tuple(tuple(level.shape[1:]) for level in found) == strategy.cached_features(17, 40)


def test_a_bandwidth_that_cannot_be_coded_is_refused():
    with pytest.raises(StrategyError, match="bandwidth_nm 0.5 is below what the model can code"):
        make(bandwidth_nm=0.5)
    with pytest.raises(StrategyError, match="bandwidth_nm -1"):
        make(bandwidth_nm=-1.0)


def test_without_torchgeo_the_command_that_installs_it_is_told(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torchgeo" else found(name))
    with pytest.raises(StrategyError, match=r"torchgeo is not installed; pip install 'hsfm-sweep\[geo\]'"):
        build(make(), 4)
