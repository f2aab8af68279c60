"""Files of weights: wrappers taken off, every key accounted for, what is damaged or foreign refused by name."""

import argparse
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_weights import GUARDED, NAME, ROWS, SPEC, Tiny, published, register, save

from strategies._checks import StrategyError
from strategies.backbones import _converted, _inspection, _loading, _places, _reading, _synthetic, _weights
from strategies.backbones._specs import all_specs
from strategies.registry import get_strategy, list_strategies


@pytest.fixture(autouse=True)
def spec(monkeypatch, tmp_path):
    return register(monkeypatch, tmp_path)


# --- the registry --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in all_specs() if name != NAME])
def test_every_datasheet_can_be_followed(name):
    one = all_specs()[name]
    assert one.manifest is None or _synthetic.read_manifest(one.manifest)
    assert set(one.safe_globals) <= set(_reading.SAFE_GLOBALS)
    assert len(one.sha256) in (0, 8, 64)
    assert any((one.package, one.url, one.huggingface, one.sha256 == ""))
    module, _, attribute = one.architecture.partition(":")
    assert module.startswith("strategies.backbones.")
    assert attribute


@pytest.mark.parametrize("name", [name for name, one in all_specs().items() if one.manifest and name != NAME])
def test_every_manifest_fills_the_model_of_its_datasheet_and_leaves_nothing_over(name):
    one = all_specs()[name]
    source = Path(find_spec(one.architecture.partition(":")[0]).origin).read_text()
    if "torchgeo" in source and not find_spec("torchgeo"):
        pytest.skip("torchgeo is not installed")
    keys = _synthetic.read_manifest(one.manifest)
    on_meta = {key.name: torch.empty(key.shape, device="meta") for key in keys}
    model = _loading.make_architecture(one, on_meta=True)
    found = _loading.fit(_reading.Checkpoint(tensors=on_meta, metadata={}), model.state_dict(), one)
    assert found.problems == ""
    assert {key.name for key in keys if key.kind == "dropped"} <= set(found.dropped)


def test_the_weights_of_every_strategy_are_in_the_registry():
    named = {kind.pretraining.weights for name in list_strategies() if (kind := get_strategy(name)).pretraining}
    assert {name for name in named if name and not name.startswith("timm:")} <= set(all_specs())


# --- what a file brings along --------------------------------------------------------------------------------------


def test_wrappers_decoder_and_optimiser_are_left_out_and_every_encoder_key_arrives(spec, tmp_path):
    model = Tiny()
    report = _loading.load_state_dict(save(tmp_path / "file.pth"), model, spec)
    assert report.share_of_backbone == 1.0
    assert report.keys_loaded == 8
    assert report.keys_dropped == ("module.decoder.weight", "module.mask_token7")
    file = published()["model"]
    assert torch.equal(model.blocks[0].attn.weight, file["module.encoder.layer0.attention.weight"])
    assert model.blocks[0].bn.num_batches_tracked == 7


def test_two_keys_for_one_place_are_refused(spec, tmp_path):
    content = published()
    content["model"]["module.embed.bias"] = torch.zeros(4)
    with pytest.raises(StrategyError, match="embed.bias, which module.encoder.embed.bias has taken"):
        _loading.load_state_dict(save(tmp_path / "file.pth", content), Tiny(), spec)


def test_a_number_where_a_tensor_is_due_is_refused(spec, tmp_path):
    content = published()
    content["model"]["module.scale"] = 3.0
    with pytest.raises(StrategyError, match=r"module.scale \(no tensor\)"):
        _loading.load_state_dict(save(tmp_path / "file.pth", content), Tiny(), spec)


def test_classes_are_allowed_by_name_only(spec, tmp_path):
    file = save(tmp_path / "file.pth")
    with pytest.raises(StrategyError, match="it names the class argparse.Namespace"):
        _loading.load_state_dict(file, Tiny(), replace(spec, safe_globals=()))
    with pytest.raises(StrategyError, match=r"class 'os.system' is not allowed.*allowed: argparse.Namespace"):
        _loading.load_state_dict(file, Tiny(), replace(spec, safe_globals=("os.system",)))


def test_a_namespace_runs_no_code(spec, tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "harmed",)

    content = {**published(), "args": argparse.Namespace(evil=Evil())}
    with pytest.raises(StrategyError, match="it names the class"):
        _loading.load_state_dict(save(tmp_path / "file.pth", content), Tiny(), spec)
    assert not (tmp_path / "harmed").exists()


def test_a_truncated_download_is_told_as_such(spec, tmp_path):
    whole = save(tmp_path / "file.pth").read_bytes()
    (tmp_path / "file.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StrategyError, match=f"cut off after {len(whole) // 2} bytes.*fetch it again"):
        _loading.load_state_dict(tmp_path / "file.pth", Tiny(), spec)
    with pytest.raises(StrategyError, match=f"has {len(whole) // 2} bytes, expected {len(whole)}; fetch it again"):
        _loading.load_state_dict(tmp_path / "file.pth", Tiny(), replace(spec, size_bytes=len(whole)))
    save_file({"a": torch.zeros(1000)}, tmp_path / "file.safetensors")
    (tmp_path / "file.safetensors").write_bytes((tmp_path / "file.safetensors").read_bytes()[:200])
    with pytest.raises(StrategyError, match="cannot be read as safetensors.*fetch it again"):
        _loading.load_state_dict(tmp_path / "file.safetensors", Tiny(), spec)


# --- looking into files --------------------------------------------------------------------------------------------


def test_looking_into_a_file_makes_no_model_and_counts_every_key(spec, tmp_path):
    found = _inspection.inspect(spec, save(tmp_path / "file.pth"))
    assert found.problems == ""
    assert found.report.share_of_backbone == 1.0
    assert found.origin.startswith("unknown")
    assert all(tensor.is_meta for tensor in _loading.make_architecture(spec, on_meta=True).parameters())


def test_what_a_file_lacks_and_has_too_much_is_listed(spec, tmp_path):
    content = published()
    del content["model"]["module.encoder.norm.bias"]
    content["model"]["module.surplus"] = torch.zeros(1)
    content["model"]["module.encoder.embed.bias"] = torch.zeros(5)
    found = _inspection.inspect(spec, save(tmp_path / "file.pth", content))
    assert found.missing == ("norm.bias",)
    assert found.unexpected == ("module.surplus -> surplus",)
    assert found.misshapen == ("embed.bias (5,) instead of (4,)",)
    assert found.stem.startswith("random")
    assert "1 missing: norm.bias; 1 unexpected" in found.problems


def test_a_file_of_unknown_origin_is_recognised_by_its_keys(weights_paths, tmp_path):
    assert _inspection.recognise(save(tmp_path / "file.pth")) == NAME
    for name in {"spectf_v010", "efficientnet_lite0_imagenet"} & set(weights_paths):
        assert _inspection.recognise(Path(weights_paths[name])) == name
    save(tmp_path / "other.pth", {"one": torch.zeros(3)})
    with pytest.raises(StrategyError, match="no checkpoint that is known here"):
        _inspection.recognise(tmp_path / "other.pth")


def test_another_size_of_a_model_is_told_as_such(tmp_path):
    content = {"model": {name: torch.zeros([2 * side for side in shape]) for name, shape, _ in ROWS}}
    found = _inspection.resembling(save(tmp_path / "large.pth", content))
    assert found[0].name == NAME
    assert "seems to be another size of that model" in _inspection.described(found)


# --- checksums that nobody has published ---------------------------------------------------------------------------


def test_without_a_published_checksum_the_first_file_s_is_kept_and_a_change_refused(spec, tmp_path):
    data, cache = tmp_path / "data", tmp_path / "cache"
    file = save(data / spec.file)
    assert _places.locate(NAME, None, cache).sha256 == ""
    first = _places.locate(NAME, data, cache)
    assert first.path == str(file)
    assert first.sha256 == _places.file_sha256(file)
    save(file, published(seed=1))
    second = _places.locate(NAME, data, cache)
    assert (second.path, second.sha256) == (None, first.sha256)
    assert f"expected {first.sha256}" in second.reason
    assert "if the new file is the right one, delete" in second.remedy
    file.unlink()
    assert _places.locate(NAME, data, cache).sha256 == first.sha256


def test_the_checksum_of_a_large_file_is_worked_out_once_until_it_changes(monkeypatch, tmp_path):
    file = save(tmp_path / "file.pth")
    monkeypatch.setattr(_places, "LARGE_BYTES", 0)
    first = _places.file_sha256(file, tmp_path / "seen")
    monkeypatch.setattr(_places, "_sha256", lambda *_: "read again")
    assert _places.file_sha256(file, tmp_path / "seen") == first
    save(file, published(seed=1))
    assert _places.file_sha256(file, tmp_path / "seen") == "read again"


# --- converted files -----------------------------------------------------------------------------------------------


def test_a_converted_file_holds_the_encoder_alone_and_loads_the_same_numbers(spec, tmp_path):
    source, target = save(tmp_path / "file.pth"), _places.converted_path(NAME, tmp_path / "cache")
    sha256 = _places.file_sha256(source)
    before, after = _converted.convert(spec, source, target, source_sha256=sha256)
    assert after < before / 20
    assert len(load_file(target)) == 8
    original, converted = Tiny(), Tiny()
    _loading.load_state_dict(source, original, spec)
    _loading.load_state_dict(target, converted, spec)
    assert all(torch.equal(a, converted.state_dict()[key]) for key, a in original.state_dict().items())
    found = _places.locate(NAME, None, tmp_path / "cache")
    assert (found.path, found.sha256) == (str(target), sha256)


def test_a_converted_file_of_another_source_or_with_changed_numbers_is_refused(spec, tmp_path):
    source, target = save(tmp_path / "file.pth"), tmp_path / "out.safetensors"
    _converted.convert(spec, source, target, source_sha256="a" * 64)
    assert _places.damage(replace(spec, sha256="a" * 64), target) == ""
    assert "was converted from a file with SHA-256 aaa" in _places.damage(replace(spec, sha256="b" * 64), target)
    assert "another model's weights" in _places.damage(replace(spec, name="other"), target)
    content = bytearray(target.read_bytes())
    content[-1] ^= 1
    target.write_bytes(bytes(content))
    assert "was changed or cut off after it was converted" in _places.damage(replace(spec, sha256="a" * 64), target)


# --- synthetic files -----------------------------------------------------------------------------------------------


def test_a_synthetic_file_has_the_published_layout_and_loads_whole(spec, tmp_path):
    path = _synthetic.synthetic_path(spec, tmp_path)
    _synthetic.write_synthetic(spec, path)
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(path, weights_only=True)
    assert set(content) == {"state_dict", "optimizer", "epoch", "args"}
    assert list(content["state_dict"]) == [name for name, _, _ in ROWS]
    assert content["state_dict"]["module.decoder.weight"].shape == (4, 4)
    assert not [t for t in content["state_dict"].values() if t.dtype not in (torch.float32, torch.int64)]
    model = Tiny()
    _weights.fill_pretrained(model, NAME, "synthetic", str(path))
    assert torch.equal(model.norm.weight, torch.ones(4))
    assert torch.equal(model.blocks[0].bn.running_var, torch.ones(4))
    weight = model.blocks[0].attn.weight
    assert 0.005 < weight.std() < 0.03
    assert weight.abs().max() <= 0.04


def test_synthetic_numbers_are_the_same_again_and_their_identity_is_known_before(spec, tmp_path):
    identity = _synthetic.synthetic_identity(spec)
    for folder in ("a", "b"):
        _synthetic.write_synthetic(spec, tmp_path / folder / "file.pth")
    a, b = ((tmp_path / folder / "file.pth") for folder in ("a", "b"))
    assert a.read_bytes() == b.read_bytes()
    assert _synthetic.identity_in(a) == identity
    assert _synthetic.synthetic_identity(replace(spec, name="other")) != identity


def test_synthetic_and_published_files_are_not_taken_for_each_other(spec, tmp_path):
    made, real = tmp_path / "made.pth", save(tmp_path / "real.pth")
    _synthetic.write_synthetic(spec, made)
    with pytest.raises(StrategyError, match="holds synthetic numbers, expected the published file"):
        _weights.fill_pretrained(Tiny(), NAME, "pretrained", str(made))
    with pytest.raises(StrategyError, match="is not the synthetic file"):
        _weights.fill_pretrained(Tiny(), NAME, "synthetic", str(real))
    cached = _places.cache_path(NAME, tmp_path / "cache")
    cached.parent.mkdir(parents=True)
    shutil.copy(made, cached)
    assert "holds synthetic numbers" in _places.locate(NAME, None, tmp_path / "cache").reason


def test_a_synthetic_file_that_was_cut_off_is_written_again(spec, tmp_path):
    path = tmp_path / "file.pth"
    _synthetic.write_synthetic(spec, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    assert _synthetic.identity_in(path) != _synthetic.synthetic_identity(spec)
    _synthetic.write_synthetic(spec, path)
    assert path.read_bytes() == whole
    assert [file.name for file in tmp_path.glob("file*")] == ["file.pth"]


def test_weights_without_a_manifest_cannot_be_imitated(tmp_path):
    with pytest.raises(StrategyError, match="have no manifest of keys"):
        _synthetic.write_synthetic(replace(SPEC, manifest=None), tmp_path / "file.pth")


def test_a_licence_to_accept_is_named_in_the_command(monkeypatch, tmp_path):
    monkeypatch.setitem(all_specs(), NAME, GUARDED)
    found = _places.locate(NAME, tmp_path, tmp_path)
    assert found.remedy == f"hsfm-sweep weights fetch {NAME} --from FILE --accept-license tiny"
