"""Real weights load whole and compute what their authors' models compute; anything else is refused."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from strategies._base import StrategyError
from strategies.backbones import _loading, _places, _weights
from strategies.backbones.deeplabv3plus import MobileNetV2Levels
from strategies.backbones.efficientnet import Lite0Pyramid
from strategies.backbones.spectf import spectral_encoder

LITE0, SPECTF = "efficientnet_lite0_imagenet", "spectf_v010"
MOBILENET = "mobilenet_v2_imagenet"
MODELS = {LITE0: Lite0Pyramid, SPECTF: spectral_encoder, MOBILENET: MobileNetV2Levels}
LEFT_OUT = {LITE0: ("_fc",), SPECTF: ("head",), MOBILENET: ("classifier", "features.18")}


@pytest.fixture
def path_of(weights_paths):
    def find(name):
        if name not in weights_paths:
            pytest.skip(f"weights {name} are not at hand")
        return weights_paths[name]

    return find


def read(path):
    return torch.load(path, map_location="cpu", weights_only=True)


@pytest.mark.parametrize("name", MODELS)
def test_every_key_of_the_real_file_is_loaded_or_dropped_by_name(name, path_of):
    report = _weights.check(name, path_of(name))
    classifier = {key for key in read(path_of(name)) if key.startswith(LEFT_OUT[name])}
    assert set(report.keys_dropped) == classifier
    assert report.keys_missing == ()
    assert report.keys_loaded == report.keys_in_file - len(classifier)
    assert report.share_of_backbone == 1.0
    dropped = sum(tensor.numel() for key, tensor in read(path_of(name)).items() if key in classifier)
    assert report.parameters_loaded == report.parameters_in_file - dropped


@pytest.mark.parametrize("name", MODELS)
def test_the_model_holds_the_numbers_of_the_file(name, path_of):
    path, model = path_of(name), MODELS[name]()
    _weights.load_state_dict(path, model, _weights.get_spec(name))
    total = sum(
        tensor.double().sum() for key, tensor in read(path_of(name)).items() if not key.startswith(LEFT_OUT[name])
    )
    assert float(sum(tensor.double().sum() for tensor in model.state_dict().values())) == pytest.approx(float(total))


@pytest.mark.parametrize("name", MODELS)
def test_missing_left_over_and_misshapen_keys_are_refused_by_name(name, path_of):
    state, spec = read(path_of(name)), _weights.get_spec(name)
    first, second = [key for key in state if key.endswith("weight")][1:3]

    def refused(changed, text):
        model = MODELS[name]()
        before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        with pytest.raises(StrategyError, match=text):
            _loading.apply_state_dict(changed, model, spec, source="a test")
        assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())

    refused({key: tensor for key, tensor in state.items() if key != first}, "1 missing: ")
    refused({**state, "surplus.weight": torch.zeros(1)}, "1 unexpected: surplus.weight")
    refused({**state, second: torch.zeros(3, 5)}, r"1 wrong shape: .* \(3, 5\) instead of")
    refused({f"module.{key}": tensor for key, tensor in state.items()}, "missing: .*unexpected: module")


@pytest.mark.parametrize("name", MODELS)
def test_a_changed_or_truncated_file_is_refused_by_its_checksum(name, path_of, tmp_path):
    spec, content = _weights.get_spec(name), Path(path_of(name)).read_bytes()
    changed = tmp_path / "changed.pt"
    changed.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(StrategyError, match=f"has SHA-256 .*, expected {spec.sha256}; fetch it again"):
        _weights.load_state_dict(changed, MODELS[name](), spec)
    changed.write_bytes(content[:-100])
    with pytest.raises(StrategyError, match=f"has {len(content) - 100} bytes, expected {len(content)}"):
        _weights.load_state_dict(changed, MODELS[name](), spec)


def test_a_file_that_needs_arbitrary_pickle_is_refused(tmp_path):
    file = tmp_path / "evil.pt"
    torch.save({"head": Path("x")}, file)
    spec = replace(_weights.get_spec(SPECTF), size_bytes=file.stat().st_size, sha256=_places._sha256(str(file), 0, 0))
    with pytest.raises(StrategyError, match="cannot be read as plain tensors"):
        _weights.load_state_dict(file, spectral_encoder(), spec)


def test_a_path_that_is_no_file_is_refused(tmp_path):
    with pytest.raises(StrategyError, match="is not a file"):
        _weights.load_state_dict(tmp_path / "absent.pt", spectral_encoder(), _weights.get_spec(SPECTF))


def test_unknown_weights_are_told_with_the_nearest_name():
    with pytest.raises(StrategyError, match="Did you mean 'spectf_v010'"):
        _places.locate("spectf_v01", None, Path("cache"))


def test_weights_that_are_nowhere_come_with_the_command_that_gets_them(tmp_path):
    location = _places.locate(SPECTF, tmp_path / "data", tmp_path / "cache")
    assert location.path is None
    assert location.sha256 == _weights.get_spec(SPECTF).sha256
    assert "not found; looked in" in location.reason
    assert location.remedy == "hsfm-sweep weights fetch spectf_v010"


def test_weights_are_found_below_the_data_root_and_in_the_cache(tmp_path, path_of):
    spec, source = _weights.get_spec(SPECTF), path_of(SPECTF)
    cached = _places.cache_path(SPECTF, tmp_path / "cache")
    cached.parent.mkdir(parents=True)
    shutil.copy(source, cached)
    assert _places.locate(SPECTF, None, tmp_path / "cache").path == str(cached)
    below_root = tmp_path / "data" / spec.file
    below_root.parent.mkdir(parents=True)
    shutil.copy(source, below_root)
    assert _places.locate(SPECTF, tmp_path / "data", tmp_path / "cache").path == str(below_root)


def test_a_damaged_file_is_told_at_once_and_not_offered(tmp_path):
    cached = _places.cache_path(SPECTF, tmp_path)
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"0" * _weights.get_spec(SPECTF).size_bytes)
    location = _places.locate(SPECTF, None, tmp_path)
    assert location.path is None
    assert "has SHA-256" in location.reason
    assert location.remedy.startswith(f"delete {cached}")


def test_every_key_of_torchvision_s_mobilenet_has_its_place():
    from torchvision.models import mobilenet_v2

    state, spec = mobilenet_v2(weights=None).state_dict(), _weights.get_spec(MOBILENET)
    report = _loading.apply_state_dict(state, MobileNetV2Levels(), spec, source="torchvision's layout")
    assert (report.keys_missing, report.share_of_backbone) == ((), 1.0)
    assert set(report.keys_dropped) == {key for key in state if key.startswith(LEFT_OUT[MOBILENET])}
    assert report.parameters_in_file == sum(p.numel() for p in mobilenet_v2(weights=None).parameters())
