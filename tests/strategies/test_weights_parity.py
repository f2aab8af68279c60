"""Real weights in our models compute what their authors' models compute, on real spectra and photographs."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from strategies.backbones import _loading, _weights
from strategies.backbones.efficientnet import Lite0Pyramid
from strategies.backbones.spectf import spectral_encoder

LITE0, SPECTF = "efficientnet_lite0_imagenet", "spectf_v010"


@pytest.fixture
def path_of(weights_paths):
    def find(name):
        if name not in weights_paths:
            pytest.skip(f"weights {name} are not at hand")
        return weights_paths[name]

    return find


def read(path):
    return torch.load(path, map_location="cpu", weights_only=True)


# --- SpecTf --------------------------------------------------------------------------------------------------------


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


def uniform_spectra(data_root, count, wavelengths_nm):
    return np.random.default_rng(0).uniform(0, 0.9, size=(count, len(wavelengths_nm)))


def enmap_spectra(data_root, count, wavelengths_nm):
    """Surface reflectance of pixels of the EnMAP tiles, linearly interpolated to the graph's number of bands."""
    from orchestrator.datasets.enmap_potsdam import FACTS, FOLDER, read

    if not (data_root / FOLDER).is_dir():
        pytest.skip("EnMAP Potsdam is not at hand")
    images = read(data_root)
    pixels = np.concatenate([image.cube[image.valid] for image in images]).astype(np.float64) / FACTS.scale
    chosen = pixels[np.random.default_rng(0).choice(len(pixels), count, replace=False)]
    assert chosen.std(axis=0).min() > 0.005
    order = np.argsort(FACTS.wavelengths_nm)
    known_nm = np.asarray(FACTS.wavelengths_nm)[order]
    return np.stack([np.interp(wavelengths_nm, known_nm, spectrum[order]) for spectrum in chosen])


@pytest.mark.parametrize("make_spectra", [uniform_spectra, enmap_spectra])
def test_spectf_agrees_with_its_authors_onnx_file(path_of, data_root, make_spectra):
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    file = data_root / "weights" / "spectf" / "spectf_v010.onnx" if data_root else None
    if file is None or not file.is_file():
        pytest.skip("the ONNX file is not at hand")
    count, bands = 64, 268
    graph = in_float32(onnx, file, batch=count)
    session = runtime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    wavelengths_nm = np.linspace(420, 2440, bands)
    spectra = make_spectra(data_root, count, wavelengths_nm).astype(np.float32)
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


# --- EfficientNet-lite0 --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole_lite0(weights_paths):
    """timm's network with its classifier, every key of the published file in it by our key mapping."""
    import timm

    if LITE0 not in weights_paths:
        pytest.skip(f"weights {LITE0} are not at hand")
    spec = _weights.get_spec(LITE0)
    whole = replace(spec, dropped=(), key_prefixes=(*spec.key_prefixes, ("_fc", "classifier")))
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    report = _loading.load_state_dict(weights_paths[LITE0], model, whole)
    assert (report.share_of_file, report.share_of_backbone, report.keys_dropped) == (1.0, 1.0, ())
    return model.eval()


@pytest.mark.parametrize(
    ("photograph", "class_id"),
    [
        ("chelsea.png", 285),  # Egyptian cat
        ("coffee.png", 967),  # espresso
        ("camera.png", 872),  # tripod
        ("motorcycle_left.png", 665),  # moped
    ],
)
def test_efficientnet_names_real_photographs_as_imagenet_does(whole_lite0, photograph, class_id):
    """Photographs that scikit-image ships, whole, at the size of the pretraining."""
    package = find_spec("skimage")
    if package is None:
        pytest.skip("scikit-image is not installed")
    file = Path(package.submodule_search_locations[0]) / "data" / photograph
    picture = Image.open(file).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        assert int(whole_lite0(pixels).argmax()) == class_id


def test_our_pyramid_is_timm_s_network_with_the_same_weights(whole_lite0, path_of):
    ours = Lite0Pyramid().eval()
    _weights.load_state_dict(path_of(LITE0), ours, _weights.get_spec(LITE0))
    x = torch.rand(1, 3, 65, 90) * 2 - 1
    with torch.no_grad():
        assert torch.equal(ours(x)[-1], whole_lite0.forward_features(x))
