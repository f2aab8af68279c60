"""Panopticon through torchgeo: the published file's keys, parity with torchgeo's own forward, what it refuses."""

import importlib.util
import json
from importlib.resources import files

import pytest
import torch

from strategies._base import StrategyError
from strategies.backbones import _weights
from strategies.backbones._loading import apply_state_dict, make_architecture
from strategies.cross_domain.panopticon import Panopticon

WIDTH, DEPTH, BAND_WIDTH = 768, 12, 2304
NUM_CLASSES = 5
needs_torchgeo = pytest.mark.skipif(importlib.util.find_spec("torchgeo") is None, reason="torchgeo is not installed")


def encoder_keys():
    """Keys and shapes as the published class has them."""
    bands = "patch_embed.chnfus"
    keys = {
        "cls_token": [1, 1, WIDTH],
        "pos_embed": [1, 37 * 37 + 1, WIDTH],
        "patch_embed.conv3d.conv3d.weight": [BAND_WIDTH, 1, 1, 14, 14],
        "patch_embed.conv3d.conv3d.bias": [BAND_WIDTH],
        f"{bands}.query": [1, 1, BAND_WIDTH],
        f"{bands}.xattn.inproj_k.weight": [BAND_WIDTH, BAND_WIDTH],
        f"{bands}.xattn.inproj_v.weight": [BAND_WIDTH, BAND_WIDTH],
        "patch_embed.proj.weight": [WIDTH, BAND_WIDTH],
        "patch_embed.proj.bias": [WIDTH],
        "norm.weight": [WIDTH],
        "norm.bias": [WIDTH],
    }
    keys |= {f"{bands}.chnemb.embed_{name}": [2, BAND_WIDTH // 3] for name in ("transmit", "receive", "orbit")}
    for block in (f"blocks.{number}" for number in range(DEPTH)):
        keys |= {f"{block}.{norm}.{key}": [WIDTH] for norm in ("norm1", "norm2") for key in ("weight", "bias")}
        keys |= {f"{block}.{scale}.gamma": [WIDTH] for scale in ("ls1", "ls2")}
        for name, rows, columns in (
            ("attn.qkv", 3 * WIDTH, WIDTH),
            ("attn.proj", WIDTH, WIDTH),
            ("mlp.fc1", 4 * WIDTH, WIDTH),
            ("mlp.fc2", WIDTH, 4 * WIDTH),
        ):
            keys |= {f"{block}.{name}.weight": [rows, columns], f"{block}.{name}.bias": [rows]}
    return keys


def manifest():
    """What the manifest of the published file has to say. To write it: json.dumps of this."""
    return {
        "source": "formulae in tests/strategies/test_panopticon.py, after torchgeo's class and its loader",
        "keys": [[name, shape, "encoder"] for name, shape in encoder_keys().items()]
        + [["mask_token", [1, WIDTH], "dropped"]],
    }


def make(**values):
    return Panopticon(**{"size": "reduced", "init": "random", "regime": "full", "head": "linear", **values})


def build(strategy, num_bands):
    wavelengths_nm = torch.linspace(450, 960, num_bands).tolist()
    return strategy.build(num_bands=num_bands, wavelengths_nm=wavelengths_nm, num_classes=NUM_CLASSES, image_size=32)


def test_the_manifest_is_that_of_the_published_class():
    spec = _weights.get_spec("panopticon_base")
    stored = json.loads(files("strategies.backbones").joinpath("manifests", spec.manifest).read_text())
    assert stored == manifest()


@needs_torchgeo
def test_every_key_of_the_published_encoder_has_its_place_and_shape_and_no_other():
    spec = _weights.get_spec("panopticon_base")
    model = make_architecture(spec, on_meta=True)
    assert {key: list(tensor.shape) for key, tensor in model.state_dict().items()} == encoder_keys()
    tensors = {name: torch.empty(shape, device="meta") for name, shape, _ in manifest()["keys"]}
    report = apply_state_dict(tensors, model.to("meta"), spec, source="manifest")
    assert report.share_of_backbone == 1.0
    assert report.keys_dropped == ("mask_token",)


@needs_torchgeo
@pytest.mark.parametrize("num_bands", [1, 15, 25, 64])
def test_up_to_64_bands_are_taken_forward_and_backward(num_bands):
    model = build(make(), num_bands)
    logits = model(torch.randn(2, num_bands, 19, 33))
    assert logits.shape == (2, NUM_CLASSES, 19, 33)
    logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@needs_torchgeo
def test_every_tap_is_that_of_torchgeos_own_forward_on_a_shared_random_state():
    """Full width, since torchgeo's class has no other; one image of 224 pixels, to which it resizes the positions."""
    from torchgeo.models import Panopticon as Published
    from torchgeo.models.copernicusfm import resize_abs_pos_embed

    from strategies.backbones.panopticon import make_panopticon

    centres_nm = [443.2, 560.0, 665.4, 2190.0]
    ours = make_panopticon("base", centres_nm).eval()
    theirs = Published(img_size=224).eval()
    state = ours.state_dict()
    state["patch_embed.chnfus.query"].normal_()
    for key in state:
        if key.endswith("gamma"):
            # as published they start at 1e-5: the blocks would hardly be seen
            state[key].fill_(0.5)
    theirs.model.load_state_dict({**state, "pos_embed": resize_abs_pos_embed(state["pos_embed"], 16, 37)})
    outputs = []
    for block in theirs.model.blocks:
        block.register_forward_hook(lambda _module, _given, tokens: outputs.append(tokens))
    x_BCHW = torch.randn(1, 4, 224, 224)
    with torch.no_grad():
        pooled = theirs({"imgs": x_BCHW, "chn_ids": torch.tensor([[443, 560, 665, 2190]])})
        levels = ours(x_BCHW)
        assert len(levels) == 4
        for number, level in zip((3, 5, 7, 11), levels, strict=True):
            expected = ours.norm(outputs[number])[:, 1:].transpose(1, 2).reshape(level.shape)
            assert float((level - expected).abs().max() / expected.abs().max()) < 1e-5
    assert pooled.shape == (1, WIDTH)


@needs_torchgeo
def test_wavelengths_are_whole_nanometres_and_survive_a_forward_pass():
    model = build(make(), 5).eval()
    before = model.backbone.centres_C.clone()
    assert torch.equal(before, before.round())
    with torch.no_grad():
        first, second = (model(torch.ones(1, 5, 28, 28)) for _ in range(2))
    assert torch.equal(model.backbone.centres_C, before)
    assert torch.equal(first, second)
    shuffled = build(make(wavelengths="shuffled"), 5).backbone.centres_C
    assert sorted(shuffled.tolist()) == sorted(before.tolist())
    assert not torch.equal(shuffled, before)


@needs_torchgeo
@pytest.mark.parametrize("enlarge", [1, 2, 4])
def test_the_announced_feature_shapes_are_those_of_the_frozen_part(enlarge):
    strategy = make(regime="frozen", enlarge=enlarge)
    with torch.no_grad():
        found = build(strategy, 4).features(torch.randn(1, 4, 17, 40))
    assert tuple(tuple(level.shape[1:]) for level in found) == strategy.cached_features(17, 40)


def test_more_bands_than_memory_has_room_for_are_refused():
    with pytest.raises(StrategyError, match="128 bands: Panopticon takes 1 to 64"):
        build(make(), 128)


@needs_torchgeo
def test_fewer_bands_can_be_chosen_evenly_and_are_counted():
    model = build(make(select_bands=25), 128)
    chosen = model.stem.bands.tolist()
    assert (chosen[0], chosen[-1], len(set(chosen))) == (0, 127, 25)
    assert model.stem.bands_used == 25
    with torch.no_grad():
        assert model(torch.randn(1, 128, 20, 20)).shape[1:] == (NUM_CLASSES, 20, 20)


def test_without_torchgeo_the_command_that_installs_it_is_told(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torchgeo" else found(name))
    with pytest.raises(StrategyError, match=r"torchgeo is not installed; pip install 'hsfm-sweep\[geo\]'"):
        build(make(), 4)
