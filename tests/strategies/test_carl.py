"""CARL: the published file fits, its random frequencies are loaded, and bands of any number and order are taken."""

import math

import numpy as np
import pytest
import torch
from published_layouts import (
    check_full_size,
    check_manifest,
    entries,
    linear,
    norm,
    random_file,
    random_state,
    write_manifest,
)
from timm.models.eva import Eva
from torch.nn import functional

from strategies._base import StrategyError
from strategies.adaptation import trainable_parameters
from strategies.backbones import carl
from strategies.backbones._loading import apply_state_dict
from strategies.backbones._weights import get_spec
from strategies.cross_domain.carl import CARL

MANIFEST = "carl_ssl.json"
SOURCE = (
    "public source code: names and shapes of IMSY-DKFZ/CARL's model at its published settings "
    "(spectral width 384, 8 layers, 8 queries; eva02_base_patch14_224 cut after 8 blocks); `state_dict` entry; no "
    "checkpoint was opened"
)
ASSUMED = (
    "that the teacher's copy of the encoder lies under `teacher.`, and that EVA-02's patch embedding and fc_norm are "
    "in the file; predictors (`model.spectral_predictor`, `model.spatial_predictor`) are in it too and not listed"
)
HYKO2_NM = np.linspace(468, 643, 15)


def encoder_keys(inner=384, outer=768, hidden=2048):
    keys = linear("embedder", inner, (1, 8, 8)) + linear("linear_connector", outer, inner)
    keys += [("spectral_tf.queries", [1, 8, inner]), ("spectral_tf.queries_pos_enc", [1, 8, inner])]
    for number in range(8):
        block = f"spectral_tf.blocks.{number}"
        keys += norm(f"{block}.norm1", inner) + norm(f"{block}.norm2", inner)
        for what in ("q", "k", "v", "proj"):
            keys += linear(f"{block}.attn.{what}", inner, inner)
        keys += [(f"{block}.ls1.gamma", [inner]), (f"{block}.ls2.gamma", [inner])]
        keys += linear(f"{block}.mlp.fc1", 4 * inner, inner) + linear(f"{block}.mlp.fc2", inner, 4 * inner)
    keys += norm("spectral_tf.norm", inner) + [("spectral_tf.positional_embedding.dims", [inner])]
    keys += [("spatial_encoder.net.cls_token", [1, 1, outer]), ("spatial_encoder.net.pos_embed", [1, 257, outer])]
    for number in range(8):
        block = f"spatial_encoder.net.blocks.{number}"
        keys += norm(f"{block}.norm1", outer) + norm(f"{block}.norm2", outer)
        for what in ("q_proj", "k_proj", "v_proj", "proj"):  # EVA's keys have no bias
            keys += linear(f"{block}.attn.{what}", outer, outer, bias=what != "k_proj")
        for what in ("fc1_g", "fc1_x"):
            keys += linear(f"{block}.mlp.{what}", hidden, outer)
        keys += norm(f"{block}.mlp.norm", hidden) + linear(f"{block}.mlp.fc2", outer, hidden)
    return keys


def published_rows():
    unused = linear("spatial_encoder.net.patch_embed.proj", 768, (3, 14, 14)) + norm("spatial_encoder.net.fc_norm", 768)

    def below(prefix, keys):
        return [(f"{prefix}.{name}", shape) for name, shape in keys]

    dropped = below("model", unused) + below("teacher", [*encoder_keys(), *unused])
    return entries(below("model", encoder_keys()), "encoder") + entries(dropped, "dropped")


def make(**values):
    return CARL(**{"size": "reduced", "init": "random", "head": "linear", **values})


def build(strategy, wavelengths_nm=HYKO2_NM, **values):
    return strategy.build(
        num_bands=len(wavelengths_nm), wavelengths_nm=list(wavelengths_nm), num_classes=5, image_size=32, **values
    )


def awake(backbone):
    """A backbone whose spectral layers are heard: fresh ones are scaled to almost nothing."""
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            if name.endswith("gamma"):
                parameter.fill_(0.7)
    return backbone.eval()


def test_the_published_file_fits_at_full_size():
    check_manifest(MANIFEST, published_rows())
    check_full_size(get_spec("carl_ssl"), published_rows(), carl.carl_base)


def test_a_lightning_checkpoint_is_loaded_whole_with_its_random_frequencies(tmp_path):
    path = tmp_path / "ssl_checkpoint_carl.ckpt"
    predictors = [["model.spectral_predictor.blocks.0.norm1.weight", [384], "dropped"]]
    rows = [row for row in published_rows() if not row[0].startswith("teacher")] + predictors
    extra = {
        "epoch": 49,
        "global_step": 1000,
        "pytorch-lightning_version": "2.5.0",
        "optimizer_states": [{"state": {}}],
    }
    state = random_file(path, rows, top_key="state_dict", extra=extra)
    model = build(CARL(head="linear"), weights_path=str(path))
    encoding = model.backbone.spectral_tf.positional_embedding
    dims = state["model.spectral_tf.positional_embedding.dims"]
    assert torch.equal(encoding.dims, dims)
    wanted = torch.outer(torch.as_tensor(HYKO2_NM, dtype=torch.float32) / 1000, dims)
    found = encoding(model.backbone.wavelengths_um_C)
    torch.testing.assert_close(found[:, 0::2], torch.sin(wanted[:, 0::2]))
    torch.testing.assert_close(found[:, 1::2], torch.cos(wanted[:, 1::2]))
    assert torch.equal(
        model.backbone.spatial_encoder.net.blocks[7].mlp.fc2.weight,
        state["model.spatial_encoder.net.blocks.7.mlp.fc2.weight"],
    )


def test_a_file_without_the_random_frequencies_is_refused():
    spec = get_spec("carl_ssl")
    with torch.device("meta"):
        model = carl.carl_base()
    state = {key: value for key, value in random_state(published_rows()[:400]).items() if not key.endswith("dims")}
    with pytest.raises(StrategyError, match=r"missing: .*spectral_tf\.positional_embedding\.dims"):
        apply_state_dict(state, model, spec, source="test")


def test_random_frequencies_of_a_fresh_model_are_in_pairs_and_the_same_every_time():
    first, second = (carl.WavelengthEncoding(384).dims for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(first[0::2], first[1::2])
    assert float(first[0::2].std()) == pytest.approx(2 * math.pi * 3, rel=0.15)


# --- the published forward pass, written out by hand ------------------------------------------------------------------


def attention(asking, asked, state, heads):
    parts = []
    for what, x in (("q", asking), ("k", asked), ("v", asked)):
        mapped = functional.linear(x, state[f"attn.{what}.weight"], state[f"attn.{what}.bias"])
        parts.append(mapped.view(*x.shape[:2], heads, -1).transpose(1, 2))
    query, key, value = parts
    attended = torch.softmax(query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5, dim=-1) @ value
    joined = attended.transpose(1, 2).reshape(asking.shape)
    return functional.linear(joined, state["attn.proj.weight"], state["attn.proj.bias"])


def spectral_by_hand(spectral, tokens, queries, heads):
    def normed(x, weight, bias):
        return functional.layer_norm(x, x.shape[-1:], weight, bias, 1e-6)

    for number, block in enumerate(spectral.blocks):
        s = block.state_dict()
        asking = tokens if number % 2 == 0 else queries
        first = [normed(x, s["norm1.weight"], s["norm1.bias"]) for x in (asking, tokens)]
        asking = asking + s["ls1.gamma"] * attention(*first, s, heads)
        hidden = normed(asking, s["norm2.weight"], s["norm2.bias"])
        hidden = functional.gelu(functional.linear(hidden, s["mlp.fc1.weight"], s["mlp.fc1.bias"]))
        asking = asking + s["ls2.gamma"] * functional.linear(hidden, s["mlp.fc2.weight"], s["mlp.fc2.bias"])
        tokens, queries = (asking, queries) if number % 2 == 0 else (tokens, asking)
    return normed(queries, spectral.norm.weight, spectral.norm.bias)


def test_the_forward_pass_is_that_of_a_reference_written_by_hand():
    backbone = awake(carl.Carl(HYKO2_NM, size="reduced"))
    image = torch.randn(1, 15, 16, 24)
    spectral, net = backbone.spectral_tf, backbone.spatial_encoder.net
    with torch.no_grad():
        answers = []
        for row in range(2):
            for column in range(3):
                patch = image[0, :, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8].flatten(1)
                tokens = patch @ backbone.embedder.weight.flatten(1).T + backbone.embedder.bias
                tokens = tokens + spectral.positional_embedding(torch.as_tensor(HYKO2_NM / 1000).float())
                queries = spectral.queries + spectral.queries_pos_enc
                answers.append(spectral_by_hand(spectral, tokens[None], queries, 4).sum(1))
        connected = backbone.linear_connector(functional.layer_norm(torch.cat(answers), (32,)))
        # timm's own EVA-02, cut like the published one, does the rest
        whole = Eva(
            img_size=224,
            patch_size=14,
            embed_dim=32,
            depth=5,
            num_heads=4,
            qkv_fused=False,
            mlp_ratio=4 * 2 / 3,
            swiglu_mlp=True,
            scale_mlp=True,
            use_rot_pos_emb=True,
            ref_feat_shape=(16, 16),
            dynamic_img_size=True,
        ).eval()
        whole.blocks = whole.blocks[:4]
        whole.load_state_dict(net.state_dict(), strict=False)
        tokens, rotations = whole._pos_embed(connected.view(1, 2, 3, 32))
        for block in whole.blocks:
            tokens = block(tokens, rope=rotations)
        (found,) = backbone(image)
    torch.testing.assert_close(found[0].flatten(1).T, tokens[0, 1:], rtol=1e-4, atol=1e-5)


def test_bands_in_another_order_give_the_same_features():
    order = np.random.default_rng(0).permutation(15)
    backbone, other = (awake(carl.Carl(centres, size="reduced")) for centres in (HYKO2_NM, HYKO2_NM[order]))
    other.load_state_dict(backbone.state_dict())
    image = torch.rand(1, 15, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(other(image[:, order])[0], backbone(image)[0], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(other(image)[0], backbone(image)[0], atol=1e-3)


def test_how_many_patches_are_in_memory_changes_nothing(monkeypatch):
    backbone = awake(carl.Carl(HYKO2_NM, size="reduced"))
    images = torch.rand(2, 15, 16, 24)
    with torch.no_grad():
        (together,) = backbone(images)
        monkeypatch.setattr(carl, "TOKENS_AT_ONCE", 31)
        torch.testing.assert_close(backbone(images)[0], together, rtol=1e-4, atol=1e-5)


def test_an_image_is_standardised_as_a_whole_and_a_constant_one_is_no_harm():
    shown = carl.ImageStandardised()(torch.stack([100 + 5 * torch.randn(7, 8, 8), torch.full((7, 8, 8), 3.0)]))
    assert float(shown[0].mean()) == pytest.approx(0, abs=1e-4)
    assert float(shown[0].std()) == pytest.approx(1, abs=1e-2)
    assert torch.equal(shown[1], torch.zeros(7, 8, 8))


# --- regimes and bands ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_bands", [15, 25, 128, 200])
def test_forward_and_backward_with_any_number_of_bands(num_bands):
    model = build(make(regime="full"), np.linspace(420, 2400, num_bands))
    model(torch.rand(2, num_bands, 10, 17)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert model.backbone.bands_used == num_bands


def test_lora_reaches_queries_keys_values_and_projections_of_both_encoders_only():
    names = trainable_parameters(build(make(regime="lora")))
    found = {name.split(".parametrizations")[0] for name in names if name.startswith("backbone")}
    spectral = {f"backbone.spectral_tf.blocks.{n}.attn.{w}" for n in range(8) for w in ("q", "k", "v", "proj")}
    spatial = {
        f"backbone.spatial_encoder.net.blocks.{n}.attn.{w}"
        for n in range(4)
        for w in ("q_proj", "k_proj", "v_proj", "proj")
    }
    assert found == spectral | spatial


def test_spectral_layers_learn_more_slowly_than_spatial_ones_in_the_regime_full():
    strategy = make(regime="full", layer_decay=0.5)
    model = build(strategy)
    rates = {id(p): group["lr"] for group in strategy.parameter_groups(model) for p in group["params"]}
    backbone = model.backbone
    in_order = [
        backbone.embedder.weight,
        *(block.norm1.weight for block in backbone.spectral_tf.blocks),
        backbone.linear_connector.weight,
        *(block.norm1.weight for block in backbone.spatial_encoder.net.blocks),
        model.head.classify.weight,
    ]
    assert [rates[id(p)] for p in in_order] == pytest.approx([1e-3 * 0.5**n for n in range(14, -1, -1)])


@pytest.mark.parametrize(("head", "levels"), [("linear", 1), ("upernet", 4)])
def test_cached_features_have_the_shapes_that_are_announced(head, levels):
    assert CARL(init="random", head=head).cached_features(128, 100) == ((768, 16, 13),) * levels
    strategy = make(head=head)
    found = build(strategy).features(torch.rand(1, 15, 10, 17))
    assert tuple(tuple(level.shape[1:]) for level in found) == strategy.cached_features(10, 17)
    assert make(head=head, regime="full").cached_features(10, 17) is None


def test_the_control_tells_other_wavelengths():
    true, wrong = (build(make(wavelengths=told)).backbone.wavelengths_um_C for told in ("true", "shuffled"))
    assert not torch.equal(true, wrong)
    assert sorted(true.tolist()) == sorted(wrong.tolist())
    assert 0.4 < float(true.min()) < float(true.max()) < 2.5


@pytest.mark.parametrize(
    ("wavelengths_nm", "text"),
    [(np.linspace(0.45, 0.95, 15), "looks like micrometres"), (np.linspace(350, 900, 15), "lie out of range")],
)
def test_bands_that_the_model_cannot_take_are_refused(wavelengths_nm, text):
    with pytest.raises(StrategyError, match=text):
        build(make(), wavelengths_nm)
    with pytest.raises(StrategyError, match="wavelengths are unknown"):
        make().build(num_bands=15, wavelengths_nm=None, num_classes=5, image_size=32)


if __name__ == "__main__":
    write_manifest(MANIFEST, SOURCE, published_rows(), assumed=ASSUMED)
