"""HyperSL: the published file fits, its quirks are kept, and single pixels become features of whole images."""

import copy

import numpy as np
import pytest
import torch
from published_layouts import (
    batch_norm,
    check_full_size,
    check_manifest,
    entries,
    linear,
    norm,
    random_file,
    vit_block,
    write_manifest,
)
from torch import nn
from torch.nn import functional

from strategies import registry
from strategies._base import StrategyError
from strategies.adaptation import trainable_parameters
from strategies.backbones import hypersl
from strategies.backbones._loading import load_state_dict
from strategies.backbones._weights import get_spec
from strategies.cross_domain.hypersl import HyperSL

MANIFEST = "hypersl_small.json"
SOURCE = (
    "public source code: names and shapes of kkweil/HyperSL's SpectralSharedEncoder at width "
    "256, 8 encoder and 4 decoder layers; `model` entry, every key below `module.`; no checkpoint was opened"
)
HYKO2_NM = np.linspace(468, 643, 15)


def published_rows(width=256, encoder=8, decoder=4, most_bands=500):
    keys = [("global_token", [1, 1, width]), ("div_term", [width // 2])]
    for number, kernel in enumerate((5, 9, 13), start=1):
        keys += linear(f"embedding_layer_{number}.0", width, (1, kernel))
        keys += batch_norm(f"embedding_layer_{number}.1", width)
    keys += linear("embedding_layer_4.0", width, (3 * width, 1)) + batch_norm("embedding_layer_4.1", width)
    for number in range(encoder - 1):
        keys += vit_block(f"encoder_blocks.{number}", width)
    keys += vit_block("transformer_encoder_layer", width)
    dropped = [("mask_token", [1, 1, width]), ("pe", [1, most_bands, width])]
    dropped += linear("corss_attn.qkv", width, width) + linear("corss_attn.proj", width, width)
    for number in range(decoder - 1):
        dropped += vit_block(f"decoder_blocks.{number}", width)
    dropped += norm("norm1", width) + norm("norm2", width) + linear("decoder_layer.0", 1, (width, 3))
    rows = entries(keys, "encoder") + entries(dropped, "dropped")
    return [[f"module.{name}", shape, kind] for name, shape, kind in rows]


def make(**values):
    return HyperSL(**{"size": "reduced", "init": "random", "head": "linear", **values})


def build(strategy, wavelengths_nm=HYKO2_NM):
    return strategy.build(
        num_bands=len(wavelengths_nm), wavelengths_nm=list(wavelengths_nm), num_classes=5, image_size=32
    )


def test_the_published_file_fits_at_full_size():
    check_manifest(MANIFEST, published_rows())
    check_full_size(get_spec("hypersl_small"), published_rows(), hypersl.hypersl_small)
    parameters = sum(int(np.prod(shape)) for name, shape, _ in published_rows() if "running" not in name and shape)
    assert parameters == get_spec("hypersl_small").parameters
    assert parameters == pytest.approx(9.16e6, rel=0.001)  # as counted in the published checkpoint


def test_a_file_with_wrappers_and_an_optimiser_is_loaded_whole_and_one_key_less_is_refused(tmp_path):
    path, spec = tmp_path / "5_base_mask95_checkpoint.pt", get_spec("hypersl_small")
    extra = {"epoch": 5, "optimizer": {"state": {}, "param_groups": [{"lr": 5e-4}]}, "scheduler": {"last_epoch": 5}}
    state = random_file(path, published_rows(), top_key="model", extra=extra)
    model = HyperSL(regime="full", head="linear").build(
        num_bands=15, wavelengths_nm=list(HYKO2_NM), num_classes=5, image_size=32, weights_path=str(path)
    )
    found = model.backbone.encoder.state_dict()
    assert all(torch.equal(found[name], state[f"module.{name}"]) for name in found)
    torch.save({"model": {key: value for key, value in state.items() if "layer_2.0.weight" not in key}}, path)
    with pytest.raises(StrategyError, match=r"1 missing: embedding_layer_2\.0\.weight"):
        load_state_dict(path, hypersl.hypersl_small(), spec)


# --- the published network, written out by hand -----------------------------------------------------------------------


def attention(x, state, name, heads):
    count, length, width = x.shape
    qkv = functional.linear(x, state[f"{name}.qkv.weight"], state[f"{name}.qkv.bias"])
    query, key, value = qkv.view(count, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    shares = torch.softmax(query @ key.transpose(-2, -1) / (width // heads) ** 0.5, dim=-1)
    merged = (shares @ value).transpose(1, 2).reshape(count, length, width)
    return functional.linear(merged, state[f"{name}.proj.weight"], state[f"{name}.proj.bias"])


def layer_norm(x, state, name):
    return functional.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-5)


def mlp(x, state, name):
    hidden = functional.gelu(functional.linear(x, state[f"{name}.fc1.weight"], state[f"{name}.fc1.bias"]))
    return functional.linear(hidden, state[f"{name}.fc2.weight"], state[f"{name}.fc2.bias"])


def by_hand(spectra_NC, wavelengths_nm, state, *, layers, heads, batch_statistics=False):
    def normed(x, name):
        mean, variance = (
            (x.mean((0, 2)), x.var((0, 2), correction=0))
            if batch_statistics
            else (state[f"{name}.running_mean"], state[f"{name}.running_var"])
        )
        x = (x - mean[:, None]) / torch.sqrt(variance[:, None] + 1e-5)
        return functional.gelu(x * state[f"{name}.weight"][:, None] + state[f"{name}.bias"][:, None])

    x, fine = spectra_NC[:, None], []
    for number in (1, 2, 3):
        weight, bias = (state[f"embedding_layer_{number}.0.{what}"] for what in ("weight", "bias"))
        fine.append(normed(functional.conv1d(x, weight, bias, padding="same"), f"embedding_layer_{number}.1"))
    weight, bias = (state[f"embedding_layer_4.0.{what}"] for what in ("weight", "bias"))
    tokens = normed(functional.conv1d(torch.cat(fine, 1), weight, bias), "embedding_layer_4.1").transpose(1, 2)
    width = tokens.shape[-1]
    positions = torch.zeros(tokens.shape[1:])
    for place in range(width // 2):
        angle = (torch.as_tensor(wavelengths_nm) - 400) / 10 * np.exp(-2 * place * np.log(100.0) / width)
        positions[:, 2 * place], positions[:, 2 * place + 1] = torch.sin(angle), torch.cos(angle)
    tokens = torch.cat([state["global_token"].expand(len(tokens), -1, -1), tokens + positions], 1)
    for number in range(layers - 1):
        name = f"encoder_blocks.{number}"
        tokens = tokens + attention(layer_norm(tokens, state, f"{name}.norm1"), state, f"{name}.attn", heads)
        tokens = tokens + mlp(layer_norm(tokens, state, f"{name}.norm2"), state, f"{name}.mlp")
    name = "transformer_encoder_layer"
    attended = attention(layer_norm(tokens, state, f"{name}.norm1"), state, f"{name}.attn", heads)
    tokens = 2 * attended + mlp(layer_norm(2 * attended, state, f"{name}.norm2"), state, f"{name}.mlp")
    return tokens[:, 0] + tokens[:, 1:].mean(1)


def uneven(encoder):
    """An encoder whose normalisations are not the trivial ones of a fresh network, so that a wrong epsilon shows."""
    with torch.no_grad():
        for name, tensor in [*encoder.named_parameters(), *encoder.named_buffers()]:
            if "norm" in name or ".1." in name:
                if tensor.is_floating_point():
                    tensor.uniform_(0.5, 1.5)
            elif name == "global_token":
                tensor.mul_(0.1)  # tokens of little spread: LayerNorm's epsilon counts
    return encoder


@pytest.mark.parametrize("bn_mode", ["eval", "batch"])
def test_features_are_those_of_a_reference_written_by_hand(bn_mode):
    encoder = uneven(hypersl.HyperSLEncoder(HYKO2_NM, size="reduced"))
    features = hypersl.PixelFeatures(encoder, bn_mode=bn_mode, chunk_pixels=1000).eval()
    image = torch.rand(1, 15, 6, 7)
    with torch.no_grad():
        (found,) = features(image)
    pixels = image[0].flatten(1).T
    wanted = by_hand(pixels, HYKO2_NM, encoder.state_dict(), layers=2, heads=2, batch_statistics=bn_mode == "batch")
    torch.testing.assert_close(found[0].flatten(1).T, wanted, rtol=1e-4, atol=1e-5)


def test_the_last_layer_doubles_its_attention_and_drops_its_input():
    layer = hypersl.LastLayer(16, 4)
    tokens = torch.rand(2, 5, 16)
    nn.init.zeros_(layer.mlp.fc2.weight)
    nn.init.zeros_(layer.mlp.fc2.bias)
    torch.testing.assert_close(layer(tokens), 2 * layer.attn(layer.norm1(tokens)))


def test_layernorm_has_torch_s_epsilon_everywhere():
    encoder = hypersl.HyperSLEncoder(HYKO2_NM, size="reduced")
    assert {module.eps for module in encoder.modules() if isinstance(module, nn.LayerNorm)} == {1e-5}


# --- pixels of images -------------------------------------------------------------------------------------------------


def test_batch_statistics_are_those_of_a_chunk_of_one_image_and_change_no_running_ones(monkeypatch):
    monkeypatch.setattr(hypersl, "TOKENS_AT_ONCE", 16 * 4)  # four pixels in memory at once
    encoder = uneven(hypersl.HyperSLEncoder(HYKO2_NM, size="reduced"))
    features = hypersl.PixelFeatures(encoder, bn_mode="batch", chunk_pixels=10).eval()
    before = copy.deepcopy(encoder.state_dict())
    images = torch.rand(2, 15, 4, 6)
    with torch.no_grad():
        (found,) = features(images)
        pixels = images.permute(0, 2, 3, 1).reshape(2, 24, 15)
        reference = copy.deepcopy(encoder).train()  # as the published export left it
        for image, map_FHW in zip(pixels, found, strict=True):
            wanted = torch.cat([reference(image[:10]), reference(image[10:20]), reference(image[20:])])
            torch.testing.assert_close(map_FHW.flatten(1).T, wanted, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())


def test_batch_statistics_with_a_gradient_are_the_same_as_without():
    features = hypersl.PixelFeatures(
        uneven(hypersl.HyperSLEncoder(HYKO2_NM, size="reduced")), bn_mode="batch", chunk_pixels=10
    )
    image = torch.rand(1, 15, 4, 6)
    (learning,) = features(image)
    with torch.no_grad():
        (resting,) = features(image)
    assert learning.requires_grad
    torch.testing.assert_close(learning, resting, rtol=1e-4, atol=1e-5)


def test_batch_mode_ignores_the_scale_of_the_input_and_eval_mode_does_not():
    image = torch.rand(1, 15, 8, 8)
    encoder = hypersl.HyperSLEncoder(HYKO2_NM, size="reduced")
    differ = {}
    for mode in ("eval", "batch"):
        features = hypersl.PixelFeatures(encoder, bn_mode=mode, chunk_pixels=5000).eval()
        with torch.no_grad():
            differ[mode] = float((features(image)[0] - features(1000 * image)[0]).abs().max())
    assert differ["eval"] > 0.1
    assert differ["batch"] < 0.01


def test_how_many_pixels_are_in_memory_changes_no_feature(monkeypatch):
    features = hypersl.PixelFeatures(
        hypersl.HyperSLEncoder(HYKO2_NM, size="reduced"), bn_mode="eval", chunk_pixels=5000
    ).eval()
    image = torch.rand(1, 15, 9, 11)
    with torch.no_grad():
        (together,) = features(image)
        largest = []
        hook = features.encoder.encoder_blocks[0].register_forward_hook(lambda *args: largest.append(args[2].shape[0]))
        monkeypatch.setattr(hypersl, "TOKENS_AT_ONCE", 16 * 7)
        (few,) = features(image)
        hook.remove()
    torch.testing.assert_close(few, together, rtol=1e-4, atol=1e-5)
    assert max(largest) == 7


@pytest.mark.parametrize("head", ["pixel", "linear", "unet", "runet", "deeplabv3plus"])
def test_every_head_reads_the_features_and_sees_as_far_as_it_says(head):
    strategy = make(head=head)
    model = build(strategy).eval()
    images = torch.rand(2, 15, 20, 33)
    assert model(images).shape == (2, 5, 20, 33)
    assert (strategy.receptive_field_px == 1) == (head in ("pixel", "linear"))
    assert strategy.inference_px == 0
    assert make(head=head, bn_mode="batch").receptive_field_px > 4000


def test_published_sizes_of_the_networks_on_256_features_are_kept():
    from strategies._feature_heads import make_feature_head

    sizes = {}
    with torch.device("meta"):
        for head in ("unet", "runet", "pixel", "deeplabv3plus"):
            sizes[head] = sum(p.numel() for p in make_feature_head(head, 256, 10, dropout=0.1).parameters())
    assert 17.40e6 < sizes["unet"] < 17.42e6
    assert 17.40e6 < sizes["runet"] < 17.42e6
    # the published 1.90 million less the eight of nine weights that a 3x3 convolution never uses on a single pixel
    assert sizes["pixel"] + 8 * 64 * 512 == pytest.approx(1.9e6, rel=0.01)
    assert 5.22e6 < sizes["deeplabv3plus"] < 5.23e6


def test_frozen_features_are_what_cached_features_says_and_stay_the_same():
    strategy = make(head="runet")
    model = build(strategy).train()
    images = torch.rand(2, 15, 16, 18)
    (before,) = model.features(images)
    assert ((before.shape[1:]),) == strategy.cached_features(16, 18)
    optimiser = torch.optim.AdamW(strategy.parameter_groups(model))
    model(images).sum().backward()
    optimiser.step()
    assert torch.equal(model.features(images)[0], before)
    assert {name.split(".")[0] for name in trainable_parameters(model)} == {"head"}
    assert make(regime="full").cached_features(16, 18) is None
    assert HyperSL(init="random").cached_features(254, 510) == ((256, 254, 510),)


@pytest.mark.parametrize("num_bands", [15, 25, 128, 200])
def test_forward_and_backward_with_any_number_of_bands(num_bands):
    model = build(make(regime="full"), np.linspace(420, 2400, num_bands))
    model(torch.rand(2, num_bands, 3, 4)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert model.backbone.bands_used == num_bands


def test_lora_reaches_queries_keys_values_and_projections_of_every_layer_only():
    names = {name.split(".parametrizations")[0] for name in trainable_parameters(build(make(regime="lora")))}
    backbone = {name for name in names if name.startswith("backbone")}
    layers = ("encoder_blocks.0", "transformer_encoder_layer")
    assert backbone == {f"backbone.encoder.{layer}.attn.{what}" for layer in layers for what in ("qkv", "proj")}


def test_later_layers_learn_faster_in_the_regime_full():
    strategy = make(regime="full", layer_decay=0.5)
    model = build(strategy)
    rates = {id(p): group["lr"] for group in strategy.parameter_groups(model) for p in group["params"]}
    encoder = model.backbone.encoder
    order = [encoder.global_token, *(layer.norm1.weight for layer in (encoder.encoder_blocks[0],))]
    order += [encoder.transformer_encoder_layer.norm1.weight, model.head.classify.weight]
    assert [rates[id(p)] for p in order] == pytest.approx([1.25e-4, 2.5e-4, 5e-4, 1e-3])


# --- wavelengths ------------------------------------------------------------------------------------------------------


def test_bands_in_mosaic_order_give_the_features_of_sorted_ones():
    shuffled = np.random.default_rng(0).permutation(15)
    image = torch.rand(1, 15, 3, 3)
    torch.manual_seed(1)
    in_order = build(make()).eval()
    torch.manual_seed(1)
    mosaic = build(make(), HYKO2_NM[shuffled]).eval()
    torch.testing.assert_close(mosaic(image[:, shuffled]), in_order(image), rtol=1e-4, atol=1e-5)
    torch.manual_seed(1)
    as_given = build(make(band_order="given"), HYKO2_NM[shuffled]).eval()
    assert not torch.allclose(as_given(image[:, shuffled]), in_order(image), atol=1e-3)


def test_the_control_tells_other_wavelengths_and_shows_the_same_bands():
    true, wrong = build(make()).backbone.encoder, build(make(wavelengths="shuffled")).backbone.encoder
    assert torch.equal(true.order_C, wrong.order_C)
    assert not torch.equal(true.place_C, wrong.place_C)
    assert sorted(true.place_C.tolist()) == sorted(wrong.place_C.tolist())


@pytest.mark.parametrize(
    ("wavelengths_nm", "text"),
    [
        (np.linspace(0.45, 0.95, 15), "looks like micrometres"),
        (np.linspace(350, 900, 15), "lie out of range"),
        (np.linspace(400, 2500, 501), "501 bands: HyperSL takes 1 to 500"),
    ],
)
def test_bands_that_the_model_cannot_take_are_refused(wavelengths_nm, text):
    with pytest.raises(StrategyError, match=text):
        build(make(), wavelengths_nm)


def test_missing_wavelengths_and_meaningless_fields_are_refused():
    with pytest.raises(StrategyError, match="wavelengths are unknown"):
        make().build(num_bands=15, wavelengths_nm=None, num_classes=5, image_size=32)
    with pytest.raises(StrategyError, match="enlarge 2 has no meaning"):
        make(enlarge=2)
    with pytest.raises(StrategyError, match="regime 'stem' is not offered"):
        make(regime="stem")
    assert registry.get_strategy("cross_domain/hypersl") is HyperSL


if __name__ == "__main__":
    write_manifest(MANIFEST, SOURCE, published_rows())
