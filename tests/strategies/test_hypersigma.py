"""HyperSIGMA: the layout of its files, its two ways in, its two branches. Run as a program, it writes the manifests."""

import argparse
import dataclasses
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from strategies._base import StrategyError
from strategies._checks import StrategyError as CheckError
from strategies.backbones import _keys, _loading, _reading, _weights, hypersigma, hypersigma_join
from strategies.backbones.hypersigma_inputs import Resampled, WhitenedComponents, resampling_matrix
from strategies.registry import make_strategy

MANIFESTS = Path(_weights.__file__).parent / "manifests"
SOURCE = (
    "Names and shapes follow from the authors' pretraining code (WHU-Sigma/HyperSIGMA, Pretrain/models_mae_*.py); that "
    "the input layer has 100 bands is confirmed by the size of the published files. No published file was opened."
)
JOINED = "Written by strategies.backbones.hypersigma_join from the two published files, whose layout is inferred."
ARCHITECTURES = {"base": (768, 12, 4), "large": (1024, 24, 8)}
"""Width, depth, and blocks of the spectral branch up to its tap."""
NAMES = [f"hypersigma_{kind}_{size}" for size in ARCHITECTURES for kind in ("spat", "spec", "both")]
ALL_NAMES = NAMES + [f"{name}_pca" for name in NAMES if "spec" not in name]
BANDS = [15, 25, 128, 200]


# --- the layout, written down independently of the model -----------------------------------------------------------


def block_keys(prefix, width):
    hidden = 4 * width
    shapes = {
        "norm1.weight": [width],
        "norm1.bias": [width],
        "attn.qkv.weight": [3 * width, width],
        "attn.qkv.bias": [3 * width],
        "attn.proj.weight": [width, width],
        "attn.proj.bias": [width],
        "norm2.weight": [width],
        "norm2.bias": [width],
        "mlp.fc1.weight": [hidden, width],
        "mlp.fc1.bias": [hidden],
        "mlp.fc2.weight": [width, hidden],
        "mlp.fc2.bias": [width],
    }
    return {f"{prefix}.{key}": shape for key, shape in shapes.items()}


def published_layout(branch, size):
    """Every key of a published file with its shape."""
    width, depth, _ = ARCHITECTURES[size]
    tokens, outputs = (64, 8 * 8 * 100) if branch == "spat" else (100, 64 * 64)
    keys = {"pos_embed": [1, tokens, width], "mask_token": [1, 1, 512], "decoder_pos_embed": [1, tokens, 512]}
    if branch == "spat":
        keys |= {"patch_embed.proj.weight": [width, 100, 8, 8], "patch_embed.proj.bias": [width]}
    else:
        keys |= {"spat_map.weight": [width, 4096], "spat_map.bias": [width]}
    for number in range(depth):
        keys |= block_keys(f"blocks.{number}", width)
    keys |= {"norm.weight": [width], "norm.bias": [width]}
    keys |= {"decoder_embed.weight": [512, width], "decoder_embed.bias": [512]}
    for number in range(8):
        keys |= block_keys(f"decoder_blocks.{number}", 512)
    keys |= {"decoder_norm.weight": [512], "decoder_norm.bias": [512]}
    return keys | {"decoder_pred.weight": [outputs, 512], "decoder_pred.bias": [outputs]}


def is_used(branch, size, key, *, has_new_stem):
    if key.startswith(("decoder", "mask_token")):
        return False
    if branch == "spat":
        return not (has_new_stem and key.startswith(("patch_embed", "pos_embed")))
    number = int(key.split(".")[1]) if key.startswith("blocks.") else -1
    return not key.startswith("norm") and number < ARCHITECTURES[size][2]


def layout(name):
    """Rows of a manifest: name, shape, kind."""
    _, kind, size, *rest = name.split("_")
    branches = {"spat": ["spat"], "spec": ["spec"], "both": ["spat", "spec"]}[kind]
    rows = []
    for branch in branches:
        for key, shape in published_layout(branch, size).items():
            used = is_used(branch, size, key, has_new_stem=bool(rest))
            if kind != "both":
                rows.append([key, shape, "encoder" if used else "dropped"])
            elif is_used(branch, size, key, has_new_stem=False):  # a joined file holds the encoders alone
                prefix = {"spat": "spatial", "spec": "spectral"}[branch]
                rows.append([f"{prefix}.{key}", shape, "encoder" if used else "dropped"])
    return rows


@pytest.mark.parametrize("name", ALL_NAMES)
def test_the_manifest_is_the_layout(name):
    assert json.loads((MANIFESTS / f"{name}.json").read_text())["keys"] == layout(name)


@pytest.mark.parametrize("name", ALL_NAMES)
def test_every_key_of_the_file_has_its_place_at_full_size(name):
    spec = _weights.get_spec(name)
    model = _loading.make_architecture(spec, on_meta=True)
    assert next(model.parameters()).device.type == "meta"
    keys = _keys.map_keys([row[0] for row in layout(name)], spec)
    shapes = {row[0]: row[1] for row in layout(name)}
    assert keys.unexpected == []
    assert keys.dropped == [row[0] for row in layout(name) if row[2] == "dropped"]
    expected = {key: list(tensor.shape) for key, tensor in model.state_dict().items()}
    assert {new: shapes[old] for old, new in keys.mapped.items()} == expected


@pytest.mark.parametrize("size", ARCHITECTURES)
@pytest.mark.parametrize("branches", ["spatial", "both"])
@pytest.mark.parametrize("chosen", ["bank100", "pca"])
def test_the_strategy_fills_what_its_datasheet_says(size, branches, chosen):
    strategy = make(size=size, branches=branches, input=chosen, init="pretrained")
    with torch.device("meta"):
        found = strategy.filled(strategy.make_parts(30, None)).state_dict()
    spec = _weights.get_spec(strategy.weights_name())
    expected = _loading.make_architecture(spec, on_meta=True).state_dict()
    assert {key: value.shape for key, value in found.items()} == {key: value.shape for key, value in expected.items()}
    assert (spec.stem == "new") == (chosen == "pca")


# --- loading -------------------------------------------------------------------------------------------------------


def make(regime="stem", init="random", size="reduced", **values):
    return make_strategy("cross_domain/hypersigma", {"regime": regime, "init": init, "size": size, **values})


def build(strategy, num_bands=24, wavelengths_nm=None):
    return strategy.build(num_bands=num_bands, wavelengths_nm=wavelengths_nm, num_classes=5, image_size=32)


def small_file(module, **others):
    """The state dict of a small model in the file's layout, with new numbers and with what a file has beside it."""
    state = {key: torch.rand_like(tensor) for key, tensor in module.state_dict().items()}
    return {**state, "mask_token": torch.zeros(1, 1, 8), "decoder_blocks.0.norm1.weight": torch.zeros(8), **others}


def test_the_published_input_layer_arrives_in_the_stem_of_bank100():
    strategy = make()
    parts = strategy.make_parts(30, None)
    state = small_file(hypersigma.published_spatial("reduced"))
    spec = _weights.get_spec("hypersigma_spat_base")
    report = _loading.apply_state_dict(state, strategy.filled(parts), spec, source="here")
    assert torch.equal(parts.stem.patch_embed["proj"].weight, state["patch_embed.proj.weight"])
    assert torch.equal(parts.stem.pos_embed, state["pos_embed"])
    assert torch.equal(parts.backbone.blocks[3].mlp.fc2.bias, state["blocks.3.mlp.fc2.bias"])
    assert (report.share_of_backbone, set(report.keys_dropped)) == (1, {"mask_token", "decoder_blocks.0.norm1.weight"})


def test_the_published_input_layer_is_dropped_by_name_with_principal_components():
    strategy = make(input="pca")
    parts = strategy.make_parts(30, None)
    before = parts.stem.patch_embed["proj"].weight.clone()
    state = small_file(hypersigma.published_spatial("reduced"))
    spec = _weights.get_spec(dataclasses.replace(strategy, size="base", init="pretrained").weights_name())
    report = _loading.apply_state_dict(state, strategy.filled(parts), spec, source="here")
    assert {"patch_embed.proj.weight", "patch_embed.proj.bias", "pos_embed"} < set(report.keys_dropped)
    assert torch.equal(parts.stem.patch_embed["proj"].weight, before)


def test_the_settings_of_its_training_run_may_be_in_the_file(tmp_path):
    file, spec = tmp_path / "file.pth", _weights.get_spec("hypersigma_spat_base")
    content = {"model": small_file(hypersigma.published_spatial("reduced")), "optimizer": {"state": {0: {"step": 1}}}}
    torch.save({**content, "args": argparse.Namespace(lr=1e-4), "epoch": 1599}, file)
    assert "pos_embed" in _reading.read_checkpoint(file, spec).tensors
    with pytest.raises(CheckError, match="argparse"):
        _reading.read_checkpoint(file, dataclasses.replace(spec, safe_globals=()))


def test_two_published_files_are_joined_to_one_that_fills_both_branches(tmp_path, monkeypatch):
    monkeypatch.setattr(hypersigma, "spatial_base", partial(hypersigma.published_spatial, "reduced"))
    monkeypatch.setattr(hypersigma, "spectral_base", partial(hypersigma.published_spectral, "reduced"))
    plain = _weights.get_spec
    monkeypatch.setattr(hypersigma_join, "get_spec", lambda name: dataclasses.replace(plain(name), sha256=""))
    spatial = small_file(hypersigma.published_spatial("reduced"))
    spectral = small_file(hypersigma.published_spectral("reduced"), **{"blocks.11.norm1.weight": torch.zeros(8)})
    files, out = [tmp_path / "spat.pth", tmp_path / "spec.pth"], tmp_path / "joined.safetensors"
    for file, state in zip(files, (spatial, spectral), strict=True):
        torch.save({"model": state}, file)
    assert hypersigma_join.main([*map(str, files), str(out)]) == 0
    for chosen in ("bank100", "pca"):
        strategy = make(branches="both", input=chosen)
        parts = strategy.make_parts(30, None)
        spec = plain(dataclasses.replace(strategy, size="base", init="pretrained").weights_name())
        _loading.load_state_dict(out, strategy.filled(parts), spec)
        assert torch.equal(parts.backbone.spectral.spat_map.weight, spectral["spat_map.weight"])
        assert torch.equal(parts.backbone.spatial.norm.bias, spatial["norm.bias"])
        is_kept = torch.equal(parts.stem.pos_embed, spatial["pos_embed"])
        assert is_kept == (chosen == "bank100")


def test_files_that_are_not_the_two_branches_are_not_joined(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(hypersigma, "spatial_base", partial(hypersigma.published_spatial, "reduced"))
    plain = _weights.get_spec
    monkeypatch.setattr(hypersigma_join, "get_spec", lambda name: dataclasses.replace(plain(name), sha256=""))
    file, out = tmp_path / "spec.pth", tmp_path / "joined.safetensors"
    torch.save({"model": small_file(hypersigma.published_spectral("reduced"))}, file)
    assert hypersigma_join.main([str(file), str(file), str(out)]) == 1
    assert "hypersigma_spat_base" in capsys.readouterr().err
    assert not out.exists()


# --- use -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_bands", BANDS)
@pytest.mark.parametrize(
    ("regime", "values"),
    [
        ("full", {}),
        ("frozen", {"branches": "both"}),
        ("stem", {"input": "pca"}),
        ("lora", {"input": "pca", "branches": "both", "head": "linear"}),
    ],
)
def test_any_number_of_bands_goes_in_and_a_gradient_comes_back(regime, values, num_bands):
    strategy = make(regime, **values)
    model = build(strategy, num_bands, np.linspace(450, 950, num_bands).tolist())
    strategy.initialise_from_data(model, np.random.default_rng(0).normal(size=(300, num_bands)).astype(np.float32))
    logits = model(torch.rand(2, num_bands, 17, 22))
    assert logits.shape == (2, 5, 17, 22)
    logits.square().sum().backward()
    without = [key for key, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


@pytest.mark.parametrize("branches", ["spatial", "both"])
@pytest.mark.parametrize("enlarge", [1, 2, 3])
def test_kept_features_have_the_shapes_that_are_told_and_none_is_finer_than_a_patch(branches, enlarge):
    strategy = make("frozen", branches=branches, enlarge=enlarge)
    features = build(strategy).features(torch.rand(1, 24, 17, 22))
    assert tuple(tuple(level.shape[1:]) for level in features) == strategy.cached_features(17, 22)
    assert make("stem", branches=branches).cached_features(17, 22) is None


def test_only_attention_gets_low_rank_updates():
    model = build(make("lora", branches="both"))
    changed = {key.split(".parametrizations")[0] for key, _ in model.backbone.named_parameters() if "lora_" in key}
    parts = [("spatial", 4), ("spectral", 2)]
    wanted = {f"{b}.blocks.{n}.attn.{part}" for b, depth in parts for n in range(depth) for part in ("qkv", "proj")}
    assert changed == wanted


def test_a_random_input_layer_cannot_stay_frozen_unseen():
    with pytest.raises(StrategyError, match="would leave the new input layer of input 'pca' random"):
        make("frozen", input="pca")


def test_components_without_principal_components_are_refused():
    with pytest.raises(StrategyError, match="components 5 has no meaning with input 'bank100'"):
        make(components=5)


def test_band_centres_in_micrometres_are_refused():
    with pytest.raises(StrategyError, match="looks like micrometres"):
        build(make(), 3, [0.45, 0.55, 0.65])


def test_resampling_follows_the_wavelength_and_not_the_order_of_the_bands():
    wavelengths_nm = np.linspace(500, 900, 25)
    order = np.random.default_rng(0).permutation(25)
    spectrum = 2 * wavelengths_nm + 1
    samples = resampling_matrix(25, wavelengths_nm[order].tolist()) @ spectrum[order]
    np.testing.assert_allclose(samples, 2 * np.linspace(500, 900, 100) + 1)


def test_resampling_extrapolates_nothing_bridges_gaps_and_leaves_no_band_out():
    wavelengths_nm = np.concatenate([np.linspace(400, 1300, 120), np.linspace(1450, 2400, 120)])
    matrix = resampling_matrix(240, wavelengths_nm.tolist())
    assert (matrix >= 0).all()
    np.testing.assert_allclose(matrix.sum(1), 1)
    assert Resampled(240, wavelengths_nm.tolist()).bands_used == 240
    assert Resampled(15, None).bands_used == 15
    assert Resampled(1, [500.0]).bands_used == 1


def test_components_are_whitened_and_one_without_variance_is_zero():
    generator = np.random.default_rng(0)
    spectra = generator.normal(size=(500, 3)) @ generator.normal(size=(3, 8)) + 5
    layer = WhitenedComponents(8, 6)
    layer.fit(spectra.astype(np.float32))
    found = layer(torch.from_numpy(spectra).float()[:, :, None, None])[..., 0, 0].numpy()
    np.testing.assert_allclose(np.cov(found[:, :3].T), np.eye(3), atol=1e-2)
    assert np.abs(found[:, 3:]).max() < 1e-3


def test_the_blocks_compute_what_a_plain_account_computes():
    torch.manual_seed(3)
    branch = hypersigma.SpatialBranch(hypersigma.SIZES["reduced"]).double().eval()
    tokens_BDhw = torch.randn(2, 32, 3, 2, dtype=torch.float64)
    levels = branch(tokens_BDhw)
    x = tokens_BDhw.flatten(2).transpose(1, 2)
    for block in branch.blocks:
        normal = torch.nn.functional.layer_norm(x, (32,), block.norm1.weight, block.norm1.bias, eps=1e-6)
        query, key, value = (part.unflatten(-1, (2, 16)) for part in block.attn.qkv(normal).chunk(3, dim=-1))
        scores = torch.einsum("bnhd,bmhd->bhnm", query, key) / 4
        x = x + block.attn.proj(torch.einsum("bhnm,bmhd->bnhd", scores.softmax(-1), value).flatten(2))
        normal = torch.nn.functional.layer_norm(x, (32,), block.norm2.weight, block.norm2.bias, eps=1e-6)
        x = x + block.mlp.fc2(torch.nn.functional.gelu(block.mlp.fc1(normal)))
    expected = branch.norm(x).transpose(1, 2).reshape(2, 32, 3, 2)
    assert torch.allclose(levels[-1], expected, atol=1e-10)


def test_the_gate_weights_every_level_by_one_number_a_channel():
    class Kept(torch.nn.Module):
        def forward(self, levels, size_px):  # noqa: ARG002
            return levels

    gate = hypersigma.SpectralGate(Kept(), 32, 4)
    levels = [torch.rand(1, 32, 3, 3) for _ in range(4)]
    weighted = gate([*levels, torch.rand(1, 32, 100, 1)], (24, 24))
    for before, after in zip(levels, weighted, strict=True):
        ratio = after / before
        assert torch.allclose(ratio, ratio[..., :1, :1].expand_as(ratio), rtol=1e-4)
        assert bool((ratio > 1).all() and (ratio < 2).all())


def write_manifests():
    for name in ALL_NAMES:
        lines = ",\n".join(f"  {json.dumps(row)}" for row in layout(name))
        source = json.dumps(JOINED if "both" in name else SOURCE)
        (MANIFESTS / f"{name}.json").write_text(f'{{\n "source": {source},\n "keys": [\n{lines}\n ]\n}}\n')


if __name__ == "__main__":
    write_manifests()
