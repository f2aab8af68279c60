"""HyperFree and HyperVision: layout of their files, matching of bands, windows. As a program, it writes manifests."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from orchestrator.datasets import registry as datasets
from orchestrator.plan.provenance import leakage
from strategies._base import StrategyError
from strategies.backbones import _keys, _loading, _weights
from strategies.backbones.hyperfree import PATCH_PX, SIZES, HyperFreeEncoder
from strategies.backbones.hyperfree_bands import BLOCKS_NM, POINTS_NM, match_bands
from strategies.backbones.hyperfree_blocks import Block, RelativeAttention, distances
from strategies.registry import make_strategy

MANIFESTS = Path(_weights.__file__).parent / "manifests"
SOURCE = {
    "hyperfree": (
        "Names follow from the authors' code (Jingtao-Li-CVer/HyperFree, HyperFree/modeling). Inferred: the file was "
        "made without merging of tokens, for images of 1024 px, with SAM's blocks of global attention, as all examples "
        "that load it are set; so multi_scale_convs are absent and rel_pos of those blocks have 127 rows. No published "
        "file was opened."
    ),
    "hypervision": (
        "Names follow from the authors' code (lronkitty/HyperVision, HyperVision/modeling). Inferred: the file was "
        "made as its authors' example is set, for images of 512 px with merging after block 8; so rel_pos of blocks of "
        "global attention have 63 rows. No published file was opened."
    ),
}
ARCHITECTURES = {
    # width, depth, heads, blocks of global attention, rows of their tables, mergings in the file, mergings in use
    "hyperfree_base": (768, 12, 12, (2, 5, 8, 11), 127, 0, 0),
    "hyperfree_large": (1024, 24, 16, (5, 11, 17, 23), 127, 0, 0),
    "hyperfree_huge": (1280, 32, 16, (7, 15, 23, 31), 127, 0, 0),
    "hypervision_huge": (1280, 32, 16, (15, 23, 31), 63, 2, 1),
}
HYKO2_NM = [468.2, 478.34, 490.83, 503.56, 514.11, 526.92, 541.8, 555.12, 569.3, 578.54, 592.71, 600.25, 611.57]
HYKO2_NM += [622.49, 642.55]
HCV2_NM = list(range(449, 958, 4))
FAMILIES = ["cross_domain/hyperfree", "cross_domain/hypervision"]


# --- the layout, written down independently of the model -----------------------------------------------------------


def linear(name, rows, columns):
    return {f"{name}.weight": [rows, columns], f"{name}.bias": [rows]}


def normal(name, width):
    return {f"{name}.weight": [width], f"{name}.bias": [width]}


def block(name, width, heads, table):
    keys = normal(f"{name}.norm1", width) | normal(f"{name}.norm2", width)
    keys |= linear(f"{name}.attn.qkv", 3 * width, width) | linear(f"{name}.attn.proj", width, width)
    keys |= {f"{name}.attn.rel_pos_{axis}": [table, width // heads] for axis in "hw"}
    return keys | linear(f"{name}.mlp.lin1", 4 * width, width) | linear(f"{name}.mlp.lin2", width, 4 * width)


def encoder(name):
    """Keys of the image encoder, and of what it holds that segmentation does not use."""
    width, depth, heads, global_blocks, table, mergings, used_mergings = ARCHITECTURES[name]
    used = {}
    for kind, entries in (("point", 85), ("block", 211)):
        used[f"{kind}_spectral_weight_bank_w"] = [width, entries, 16, 16]
        used[f"{kind}_spectral_weight_bank_b"] = [width]
    for number, (rows, columns) in enumerate([(width // 2, width), (width // 2, width // 2), (width, width // 2)]):
        used |= linear(f"pos_embed_mlp.layers.{number}", rows, columns)
    for number in range(depth):
        used |= block(f"blocks.{number}", width, heads, table if number in global_blocks else 27)
    used |= {"neck.0.weight": [256, width, 1, 1], "neck.2.weight": [256, 256, 3, 3]}
    used |= normal("neck.1", 256) | normal("neck.3", 256)
    other = {}
    for number in range(2):
        other |= block(f"contras_modules.{number}", 256, 8, 31)
    for number in range(mergings):
        keys = {f"multi_scale_convs.{number}.reduction.weight": [width, 4 * width]}
        keys |= normal(f"multi_scale_convs.{number}.norm", 4 * width)
        (used if number < used_mergings else other).update(keys)
    return used, other


def of_prompts():
    """SAM's prompt encoder and mask decoder."""
    keys = {"prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": [2, 128]}
    for embedding in (*(f"point_embeddings.{n}" for n in range(4)), "not_a_point_embed", "no_mask_embed"):
        keys[f"prompt_encoder.{embedding}.weight"] = [1, 256]
    shapes = {"0": [4, 1, 2, 2], "1": [4], "3": [16, 4, 2, 2], "4": [16], "6": [256, 16, 1, 1]}
    for number, shape in shapes.items():
        keys[f"prompt_encoder.mask_downscaling.{number}.weight"] = shape
        keys[f"prompt_encoder.mask_downscaling.{number}.bias"] = [shape[0]]
    decoder = "mask_decoder"
    keys |= {f"{decoder}.iou_token.weight": [1, 256], f"{decoder}.mask_tokens.weight": [4, 256]}

    def attention(name, inner):
        found = {}
        for part in "qkv":
            found |= linear(f"{name}.{part}_proj", inner, 256)
        return found | linear(f"{name}.out_proj", 256, inner)

    for number in range(2):
        layer = f"{decoder}.transformer.layers.{number}"
        keys |= attention(f"{layer}.self_attn", 256)
        keys |= attention(f"{layer}.cross_attn_token_to_image", 128)
        keys |= attention(f"{layer}.cross_attn_image_to_token", 128)
        keys |= linear(f"{layer}.mlp.lin1", 2048, 256) | linear(f"{layer}.mlp.lin2", 256, 2048)
        for norm in range(1, 5):
            keys |= normal(f"{layer}.norm{norm}", 256)
    keys |= attention(f"{decoder}.transformer.final_attn_token_to_image", 128)
    keys |= normal(f"{decoder}.transformer.norm_final_attn", 256)
    for number, (rows, columns) in {"0": (256, 64), "3": (64, 32)}.items():
        keys[f"{decoder}.output_upscaling.{number}.weight"] = [rows, columns, 2, 2]
        keys[f"{decoder}.output_upscaling.{number}.bias"] = [columns]
    keys |= normal(f"{decoder}.output_upscaling.1", 64)
    for number in range(4):
        for layer, outputs in enumerate((256, 256, 32)):
            keys |= linear(f"{decoder}.output_hypernetworks_mlps.{number}.layers.{layer}", outputs, 256)
    for layer, outputs in enumerate((256, 256, 4)):
        keys |= linear(f"{decoder}.iou_prediction_head.layers.{layer}", outputs, 256)
    return keys


def layout(name):
    """Rows of a manifest: name, shape, kind."""
    used, other = encoder(name)
    rows = [[f"image_encoder.{key}", shape, "encoder"] for key, shape in used.items()]
    rows += [[f"image_encoder.{key}", shape, "dropped"] for key, shape in other.items()]
    return rows + [[key, shape, "dropped"] for key, shape in of_prompts().items()]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_manifest_is_the_layout(name):
    assert json.loads((MANIFESTS / f"{name}.json").read_text())["keys"] == layout(name)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_key_of_the_file_has_its_place_at_full_size(name):
    spec = _weights.get_spec(name)
    model = _loading.make_architecture(spec, on_meta=True)
    assert next(model.parameters()).device.type == "meta"
    shapes = {row[0]: row[1] for row in layout(name)}
    keys = _keys.map_keys(shapes, spec)
    assert keys.unexpected == []
    assert set(keys.dropped) == {row[0] for row in layout(name) if row[2] == "dropped"}
    expected = {key: list(tensor.shape) for key, tensor in model.state_dict().items()}
    assert {new: shapes[old] for old, new in keys.mapped.items()} == expected


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_strategy_fills_what_its_datasheet_says_for_any_bands(name):
    family, size = name.split("_")
    strategy = make_strategy(f"cross_domain/{family}", {"size": size})
    assert strategy.weights_name() == name
    with torch.device("meta"):
        found = strategy.filled(strategy.make_parts(15, HYKO2_NM)).state_dict()
    expected = _loading.make_architecture(_weights.get_spec(name), on_meta=True).state_dict()
    assert {key: value.shape for key, value in found.items()} == {key: value.shape for key, value in expected.items()}


def test_a_file_in_the_layout_fills_the_encoder_and_nothing_else():
    strategy = make("cross_domain/hyperfree")
    backbone = strategy.make_parts(15, HYKO2_NM).backbone
    state = {f"image_encoder.{key}": torch.rand_like(tensor) for key, tensor in backbone.state_dict().items()}
    junk = {"mask_decoder.iou_token.weight": torch.zeros(1, 256), "image_encoder.contras_modules.0.x": torch.zeros(1)}
    spec = _weights.get_spec("hyperfree_base")
    report = _loading.apply_state_dict({**state, **junk}, backbone, spec, source="here")
    assert torch.equal(backbone.neck[3].bias, state["image_encoder.neck.3.bias"])
    assert (report.share_of_backbone, set(report.keys_dropped)) == (1, set(junk))
    with pytest.raises(StrategyError, match=r"unexpected: image_encoder\.patch_embed"):
        _loading.apply_state_dict({**state, "image_encoder.patch_embed": torch.zeros(1)}, backbone, spec, source="here")


def test_licences_are_told_as_they_are():
    hyperfree, hypervision = (_weights.get_spec(name) for name in ("hyperfree_base", "hypervision_huge"))
    assert (hyperfree.licence_weights, hyperfree.consent) == ("none", "hyperfree")
    assert (hypervision.licence_code, hypervision.licence_weights, hypervision.consent) == ("none", "Apache-2.0", "")


# --- bands ---------------------------------------------------------------------------------------------------------


def make(family, regime="full", **values):
    return make_strategy(family, {"regime": regime, "init": "random", "size": "reduced", **values})


def build(strategy, wavelengths_nm):
    return strategy.build(
        num_bands=len(wavelengths_nm), wavelengths_nm=list(wavelengths_nm), num_classes=5, image_size=32
    )


@pytest.mark.parametrize(
    ("wavelengths_nm", "by_point", "by_block_only"),
    [(HCV2_NM, 64, 20), (HYKO2_NM, 14, 0), (np.linspace(600, 975, 25), 24, 1)],
    ids=["hcv2", "hyko2", "hsi_drive"],
)
def test_so_many_bands_of_the_driving_sets_are_looked_at(wavelengths_nm, by_point, by_block_only):
    match = match_bands(wavelengths_nm, (390, 2510))
    points, blocks = ({band for band, _ in pairs} for pairs in (match.points, match.blocks))
    assert (len(points), len(blocks - points)) == (by_point, by_block_only)
    model = build(make("cross_domain/hyperfree"), wavelengths_nm)
    assert model.backbone.bands_used == by_point + by_block_only


def test_an_entry_takes_the_first_band_near_to_it_in_the_order_of_the_cube():
    entry = BLOCKS_NM.index(1100)
    far = [2000 + step for step in range(20)]  # so that blocks are matched
    for order in ([1095, 1104], [1104, 1095]):
        pairs = match_bands([*order, *far], (390, 2510)).blocks
        assert [band for band, found in pairs if found == entry] == [0]
    assert POINTS_NM.index(1240) in {found for _, found in match_bands([1230.0], (390, 2510)).points}
    assert match_bands([1229.9], (390, 2510)).bands == ()


def test_a_band_that_nothing_is_near_to_does_not_change_the_logits():
    wavelengths_nm = [*HYKO2_NM, 1100.0]
    model = build(make("cross_domain/hyperfree"), wavelengths_nm).eval()
    x = torch.rand(1, 16, 20, 20)
    changed = x.clone()
    changed[:, -1] += 1
    used = x.clone()
    used[:, 0] += 1
    with torch.no_grad():
        assert torch.equal(model(x), model(changed))
        assert not torch.equal(model(x), model(used))
    assert model.backbone.bands_used == 14


def test_no_band_is_drawn_at_random():
    model = build(make("cross_domain/hyperfree"), HCV2_NM).eval()
    x = torch.rand(1, 128, 16, 16)
    with torch.no_grad():
        assert torch.equal(model(x), model(x))


def test_bands_beyond_pretraining_are_left_out_of_hypervision_alone():
    wavelengths_nm = np.linspace(400, 2500, 200)
    counts = [build(make(family), wavelengths_nm).backbone.bands_used for family in FAMILIES]
    assert counts == [200, int((wavelengths_nm <= 1700).sum())]


@pytest.mark.parametrize("family", FAMILIES)
def test_bands_that_nothing_knows_are_refused(family):
    strategy = make(family)
    with pytest.raises(StrategyError, match="none of 2 bands, for example 3000 nm"):
        strategy.check_sensor(2, [3000.0, 3100.0])
    with pytest.raises(StrategyError, match="looks like micrometres"):
        build(strategy, [0.45, 0.55, 0.65])
    with pytest.raises(StrategyError, match="wavelengths are unknown"):
        strategy.build(num_bands=3, wavelengths_nm=None, num_classes=5, image_size=32)


def test_one_kernel_computes_the_published_sum_of_two_convolutions():
    wavelengths_nm = np.linspace(420, 2400, 60).tolist()
    encoder = build(make("cross_domain/hyperfree"), wavelengths_nm).backbone.double()
    for bias in (encoder.point_spectral_weight_bank_b, encoder.block_spectral_weight_bank_b):
        torch.nn.init.normal_(bias)
    x = torch.rand(2, 60, 32, 16, dtype=torch.float64)
    match = match_bands(wavelengths_nm, (390, 2510))
    expected = 0
    for pairs, weight, bias in (
        (match.points, encoder.point_spectral_weight_bank_w, encoder.point_spectral_weight_bank_b),
        (match.blocks, encoder.block_spectral_weight_bank_w, encoder.block_spectral_weight_bank_b),
    ):
        bands, entries = map(list, zip(*pairs, strict=True))
        expected = expected + functional.conv2d(x[:, bands], weight[:, entries], bias, stride=PATCH_PX)
    assert torch.allclose(encoder._embedded(x), expected)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("num_bands", [15, 25, 128, 200])
def test_any_number_of_bands_goes_in_and_every_weight_gets_a_gradient(family, num_bands):
    model = build(make(family), np.linspace(450, 950, num_bands))
    logits = model(torch.rand(2, num_bands, 17, 22))
    assert logits.shape == (2, 5, 17, 22)
    logits.square().sum().backward()
    assert [key for key, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(
    ("family", "dataset", "expected"),
    [
        *((FAMILIES[1], name, "unlabelled_target") for name in ("hsi_drive", "hyko2", "hcv2", "hcv2_2024")),
        (FAMILIES[1], "ximea_nir25", "possible"),
        (FAMILIES[1], "indian_pines", "none"),
        (FAMILIES[0], "indian_pines", "possible"),
        (FAMILIES[0], "hyko2", "none"),
    ],
)
def test_pretraining_that_has_seen_the_target_is_flagged(family, dataset, expected):
    facts = datasets.get_facts(dataset)
    assert leakage(make_strategy(family, {}).pretraining, facts) == expected


# --- attention and positions ---------------------------------------------------------------------------------------


def test_a_map_that_fits_into_a_window_is_attended_to_as_in_the_window_without_its_padding():
    layer = RelativeAttention(32, 2, 14).double()
    for table in (layer.rel_pos_h, layer.rel_pos_w):
        torch.nn.init.normal_(table)
    x = torch.randn(1, 3, 5, 32, dtype=torch.float64)
    found = layer(x, is_cut=True)
    for row, column in ((0, 0), (2, 4), (1, 3)):
        query, key, value = (part.unflatten(-1, (2, 16)) for part in layer.qkv(x[0]).chunk(3, dim=-1))
        heads = []
        for head in range(2):
            q = query[row, column, head]
            scores = key[..., head, :] @ q / 4
            for i in range(3):
                for j in range(5):
                    term = layer.rel_pos_h[row - i + 13] @ q + layer.rel_pos_w[column - j + 13] @ q
                    scores[i, j] = scores[i, j] + term
            weights = scores.flatten().softmax(0).view(3, 5)
            heads.append(torch.einsum("ij,ijc->c", weights, value[..., head, :]))
        assert torch.allclose(found[0, row, column], layer.proj(torch.cat(heads)))


def test_a_larger_map_is_cut_into_windows_that_do_not_see_each_other():
    layer = Block(32, 2, grid=14, is_windowed=True).eval()
    x = torch.randn(1, 20, 17, 32)
    changed = x.clone()
    changed[:, 16, 3, 0] += 9
    with torch.no_grad():
        other = (layer(x) != layer(changed)).any(-1)[0]
    assert bool(other[14:20, :14].all())
    assert not bool(other[:14].any() or other[:, 14:].any())


def test_tables_of_distances_fit_their_map_exactly_or_are_interpolated():
    table = torch.arange(27.0)[:, None]
    assert distances(table, 14, is_cut=False)[13, 0, 0] == 26
    assert distances(table, 5, is_cut=True)[:, :, 0].tolist() == [[13.0 + i - j for j in range(5)] for i in range(5)]
    assert distances(table, 28, is_cut=True).shape == (28, 28, 1)


def test_a_place_is_coded_in_metres_so_that_enlarging_an_image_does_not_move_it():
    plain = make("cross_domain/hyperfree", ground_sampling_distance_m=2.0)
    enlarged = make("cross_domain/hyperfree", ground_sampling_distance_m=4.0, enlarge=2)
    assert build(plain, HYKO2_NM).backbone.distance_m == build(enlarged, HYKO2_NM).backbone.distance_m == 2
    encoder = HyperFreeEncoder(SIZES["hyperfree_reduced"], HYKO2_NM, range_nm=(390, 2510), distance_m=2.0)
    encoder.pos_embed_mlp = torch.nn.Identity()
    codes = encoder._positions(3, 4, torch.zeros(1))
    frequencies = 10000.0 ** -(np.arange(8) / 8)
    for row, column in ((0, 0), (2, 1), (1, 3)):
        by_hand = [f(2.0 * place * frequencies) for place in (column, row) for f in (np.sin, np.cos)]
        np.testing.assert_allclose(codes[row, column].numpy(), np.concatenate(by_hand), atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("enlarge", [1, 2])
def test_kept_features_have_the_shapes_that_are_told(family, enlarge):
    strategy = make(family, "frozen", enlarge=enlarge)
    features = build(strategy, HYKO2_NM).features(torch.rand(1, 15, 40, 33))
    assert tuple(tuple(level.shape[1:]) for level in features) == strategy.cached_features(40, 33)
    assert make(family, "lora").cached_features(40, 33) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_only_attention_gets_low_rank_updates(family):
    model = build(make(family, "lora"), HYKO2_NM)
    changed = {key.split(".parametrizations")[0] for key, _ in model.backbone.named_parameters() if "lora_" in key}
    assert changed == {f"blocks.{number}.attn.{part}" for number in range(4) for part in ("qkv", "proj")}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_that_is_told_shuffled_wavelengths_gives_other_logits(family):
    models = []
    for wavelengths in ("true", "shuffled"):
        torch.manual_seed(0)
        models.append(build(make(family, wavelengths=wavelengths), HYKO2_NM).eval())
    x = torch.rand(1, 15, 16, 16)
    with torch.no_grad():
        assert not torch.allclose(models[0](x), models[1](x))


def write_manifests():
    for name in ARCHITECTURES:
        lines = ",\n".join(f"  {json.dumps(row)}" for row in layout(name))
        source = json.dumps(SOURCE[name.split("_")[0]])
        (MANIFESTS / f"{name}.json").write_text(f'{{\n "source": {source},\n "keys": [\n{lines}\n ]\n}}\n')


if __name__ == "__main__":
    write_manifests()
