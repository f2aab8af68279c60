"""Real weights load whole and compute what their authors' models compute; anything else is refused."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
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


def test_spectf_computes_what_a_plain_account_of_the_paper_computes(path_of):
    """Attention written out head by head in NumPy, from the file's tensors, against the model."""
    weights = {key: tensor.double().numpy() for key, tensor in read(path_of(SPECTF)).items()}
    wavelengths_nm = np.linspace(420, 2440, 30)
    spectra = np.random.default_rng(0).uniform(0, 0.9, size=(4, 30))
    model = spectral_encoder(wavelengths_nm.tolist()).eval()
    _weights.load_state_dict(path_of(SPECTF), model, _weights.get_spec(SPECTF))
    with torch.no_grad():
        features = model(torch.from_numpy(spectra).float()).numpy()
    np.testing.assert_allclose(features, plain_spectf(weights, spectra, wavelengths_nm), atol=2e-4)


def plain_spectf(weights, spectra, wavelengths_nm):
    def norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * weights[f"layers.0.{name}.weight"] + weights[f"layers.0.{name}.bias"]

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    positions = np.broadcast_to((wavelengths_nm - 1440) / 600, spectra.shape)
    tokens = norm(np.tanh(linear(np.stack([spectra, positions], -1), "spectral_embed.linear")), "norm1")
    attention = "layers.0.attention.attention"
    mixed = tokens @ weights[f"{attention}.in_proj_weight"].T + weights[f"{attention}.in_proj_bias"]
    query, key, value = np.split(mixed, 3, axis=-1)
    heads = []
    for first in range(0, 64, 8):
        q, k, v = (part[..., first : first + 8] for part in (query, key, value))
        scores = np.exp(q @ k.swapaxes(-1, -2) / np.sqrt(8))
        heads.append(scores / scores.sum(-1, keepdims=True) @ v)
    tokens = norm(linear(np.concatenate(heads, -1), f"{attention}.out_proj"), "norm2")
    hidden = linear(tokens, "layers.0.ff.linear1")
    hidden = hidden * 0.5 * (1 + torch.erf(torch.from_numpy(hidden / np.sqrt(2))).numpy())
    return linear(hidden, "layers.0.ff.linear2").max(axis=1)


def test_spectf_agrees_with_its_authors_onnx_file(path_of, data_root):
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    file = data_root / "weights" / "spectf" / "spectf_v010.onnx" if data_root else None
    if file is None or not file.is_file():
        pytest.skip("the ONNX file is not at hand")
    count, bands = 64, 268
    graph = in_float32(onnx, file, batch=count)
    session = runtime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    wavelengths_nm = np.linspace(405, 2455, bands)
    spectra = np.random.default_rng(0).uniform(0, 0.9, size=(count, bands)).astype(np.float32)
    tokens = np.stack([spectra, np.broadcast_to((wavelengths_nm - 1440) / 600, spectra.shape)], -1).astype(np.float32)
    expected = session.run(None, {session.get_inputs()[0].name: tokens})[0]
    state = {key: tensor.bfloat16().float() for key, tensor in read(path_of(SPECTF)).items()}
    model = spectral_encoder(wavelengths_nm.tolist()).eval()
    _loading.apply_state_dict(state, model, _weights.get_spec(SPECTF), source="the file, rounded as in ONNX")
    with torch.no_grad():
        logits = model(torch.from_numpy(spectra)) @ state["head.weight"].T + state["head.bias"]
    # logits span about -15 to 15; the graph's own constants (the square root of the head's width) are bfloat16 too
    np.testing.assert_allclose(logits.numpy(), expected, atol=0.02)


def in_float32(onnx, file, *, batch):
    """The authors' graph in float32 (ONNX Runtime has no bfloat16 tanh on CPU) and for another batch than its 4096."""
    model, kinds = onnx.load(file), onnx.TensorProto

    def widened(tensor):
        array = onnx.numpy_helper.to_array(tensor)
        if tensor.data_type == kinds.BFLOAT16:
            return onnx.numpy_helper.from_array(array.astype(np.float32), tensor.name)
        if tensor.data_type == kinds.INT64:  # shapes with the batch as a factor; 9 GB of attention otherwise
            array = np.where(array % 4096 == 0, array // 4096 * batch, array).astype(np.int64)
            return onnx.numpy_helper.from_array(array, tensor.name)
        return tensor

    initialisers = [widened(tensor) for tensor in model.graph.initializer]
    del model.graph.initializer[:], model.graph.value_info[:]
    model.graph.initializer.extend(initialisers)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "value":
                attribute.t.CopyFrom(widened(attribute.t))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = kinds.FLOAT
        value.type.tensor_type.shape.dim[0].dim_value = batch
    return model


def test_efficientnet_knows_what_imagenet_shows(path_of):
    """With the file's classifier on our features, two photographs that scikit-learn ships are named rightly."""
    from sklearn.datasets import load_sample_image

    model = Lite0Pyramid().eval()
    _weights.load_state_dict(path_of(LITE0), model, _weights.get_spec(LITE0))
    file = read(path_of(LITE0))
    for photograph, names in (
        ("china.jpg", {442, 663, 832}),
        ("flower.jpg", {985}),
    ):  # bell cote, monastery, stupa; daisy
        pixels = torch.from_numpy(load_sample_image(photograph).copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        small = torch.nn.functional.interpolate(pixels, size=(224, 224), mode="bicubic")
        with torch.no_grad():
            logits = model(small)[-1].mean((2, 3)) @ file["_fc.weight"].T + file["_fc.bias"]
        assert int(logits.argmax()) in names


def test_efficientnet_matches_timm_with_the_same_weights(path_of):
    import timm

    spec, ours = _weights.get_spec(LITE0), Lite0Pyramid().eval()
    _weights.load_state_dict(path_of(LITE0), ours, spec)
    theirs = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0).eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.rand(1, 3, 65, 90) * 2 - 1
    with torch.no_grad():
        assert torch.equal(ours(x)[-1], theirs.forward_features(x))


def test_every_key_of_torchvision_s_mobilenet_has_its_place():
    from torchvision.models import mobilenet_v2

    state, spec = mobilenet_v2(weights=None).state_dict(), _weights.get_spec(MOBILENET)
    report = _loading.apply_state_dict(state, MobileNetV2Levels(), spec, source="torchvision's layout")
    assert (report.keys_missing, report.share_of_backbone) == ((), 1.0)
    assert set(report.keys_dropped) == {key for key in state if key.startswith(LEFT_OUT[MOBILENET])}
    assert report.parameters_in_file == sum(p.numel() for p in mobilenet_v2(weights=None).parameters())
