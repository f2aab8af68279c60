"""SpectralEarth: both layouts of its files fit, no stem stays random, and bands are brought to its grid or refused."""

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
    random_state,
    vit_block,
    write_manifest,
)

from strategies._base import StrategyError
from strategies.adaptation import trainable_parameters
from strategies.backbones import spectralearth
from strategies.backbones._loading import apply_state_dict, make_architecture
from strategies.backbones._weights import get_spec
from strategies.backbones.enmap_grid import ENMAP_202_NM, covered_samples, interpolation_weights
from strategies.cross_domain.spectralearth import SpectralEarth

SOURCE = "public source code: names and shapes of AABNassim/spectral_earth's SpecViT; no checkpoint was opened"
ASSUMED = {
    "plain": "that files of this objective hold the network under its own names, without a head",
    "wrapped": (
        "that files of this objective hold the masked autoencoder's wrapper: convolutions over the spectrum inside of "
        "the patch embedding, its projection under two names, and a head of 1000 classes"
    ),
}
WIDTHS = {"s": 384, "b": 768}
LAYOUTS = {"s_mae": "wrapped", "s_dino": "plain", "s_moco": "plain", "b_mae": "wrapped"}
HCV2_NM = 449.0 + 4 * np.arange(128)


def published_rows(width, layout):
    adapter = "spectral_adapter" if layout == "plain" else "vit_core.patch_embed.spectral_adapter"
    keys, inside = [], 1
    for place, (outs, bands) in zip((0, 3, 6), ((32, 7), (64, 7), (128, 5)), strict=True):
        keys += linear(f"{adapter}.{place}", outs, (inside, bands, 1, 1)) + batch_norm(f"{adapter}.{place + 1}", outs)
        inside = outs
    keys += [("vit_core.cls_token", [1, 1, width]), ("vit_core.pos_embed", [1, 1025, width])]
    keys += linear("vit_core.patch_embed.proj", width, (128, 4, 4))
    for number in range(12):
        keys += vit_block(f"vit_core.blocks.{number}", width)
    keys += norm("vit_core.norm", width)
    dropped = []
    if layout == "wrapped":
        dropped += linear("vit_core.patch_embed.original_patch_embed.proj", width, (128, 4, 4))
        dropped += linear("vit_core.head", 1000, width)
    return entries(keys, "encoder") + entries(dropped, "dropped")


def make(**values):
    return SpectralEarth(**{"size": "reduced", "init": "random", "head": "linear", **values})


def build(strategy, wavelengths_nm, **values):
    return strategy.build(
        num_bands=len(wavelengths_nm), wavelengths_nm=list(wavelengths_nm), num_classes=5, image_size=32, **values
    )


@pytest.mark.parametrize(("name", "layout"), LAYOUTS.items())
def test_the_published_files_fit_at_full_size_in_either_layout(name, layout):
    spec = get_spec(f"spectralearth_{name}")
    check_manifest(spec.manifest, published_rows(WIDTHS[name[0]], layout))
    for either in ("plain", "wrapped"):
        check_full_size(spec, published_rows(WIDTHS[name[0]], either), lambda: make_architecture(spec))


@pytest.fixture(scope="module")
def small():
    spec = get_spec("spectralearth_s_mae")
    return make_architecture(spec), spec


@pytest.mark.parametrize("layout", ["plain", "wrapped"])
def test_a_file_without_a_part_of_the_stem_is_refused(small, layout):
    model, spec = small
    state = random_state(published_rows(384, layout))
    apply_state_dict(state, model, spec, source="test")
    inside = "vit_core.patch_embed." if layout == "wrapped" else ""
    found, projection = model.state_dict(), "vit_core.patch_embed.proj.weight"
    assert torch.equal(found["spectral_adapter.3.weight"], state[f"{inside}spectral_adapter.3.weight"])
    assert torch.equal(found[projection], state[projection])
    for lost in ("spectral_adapter.3.weight", "spectral_adapter.7.running_var", "patch_embed.proj.weight"):
        less = {key: value for key, value in state.items() if not key.endswith(lost)}
        with pytest.raises(StrategyError, match=rf"1 missing: .*{lost}"):
            apply_state_dict(less, model, spec, source="test")


def test_a_wrapped_file_may_name_the_projection_once(small):
    model, spec = small
    state = random_state(published_rows(384, "wrapped"))
    once = {key: value for key, value in state.items() if not key.startswith("vit_core.patch_embed.proj")}
    apply_state_dict(once, model, spec, source="test")
    wanted = state["vit_core.patch_embed.original_patch_embed.proj.weight"]
    assert torch.equal(model.state_dict()["vit_core.patch_embed.proj.weight"], wanted)


def test_another_size_is_refused(small):
    with pytest.raises(StrategyError, match="wrong shape"):
        apply_state_dict(random_state(published_rows(768, "plain")), *small, source="test")


def test_pretrained_weights_reach_stem_and_backbone_of_the_strategy(tmp_path):
    path = tmp_path / "weights.pth"
    state = random_file(path, published_rows(384, "wrapped"), top_key=None)
    strategy = SpectralEarth(size="small", head="linear")
    assert strategy.weights_name() == "spectralearth_s_mae"
    model = build(strategy, HCV2_NM, weights_path=str(path))
    assert torch.equal(model.stem[1][6].weight, state["vit_core.patch_embed.spectral_adapter.6.weight"])
    assert torch.equal(model.backbone.blocks[11].mlp.fc2.weight, state["vit_core.blocks.11.mlp.fc2.weight"])


# --- bands ------------------------------------------------------------------------------------------------------------


def test_the_grid_is_enmap_s_without_the_water_bands():
    assert len(ENMAP_202_NM) == 202
    assert not [centre for centre in ENMAP_202_NM if 1280 < centre < 1510 or 1725 < centre < 1960]


@pytest.mark.parametrize(("bands", "left"), [(75, 1), (103, 1), (128, 1), (144, 1), (202, 2)])
def test_the_convolutions_leave_as_much_of_the_spectrum_as_published(bands, left):
    sizes = []
    adapter = spectralearth.SpectralAdapter(16)
    for layer in adapter:
        layer.register_forward_hook(lambda *args: sizes.append(args[2].shape[2]))
    assert adapter(torch.rand(1, bands, 2, 3)).shape == (1, 16, 2, 3)
    assert sizes[-1] == left


def test_fewer_than_75_bands_leave_nothing_of_the_spectrum():
    with pytest.raises(RuntimeError):
        spectralearth.SpectralAdapter(16)(torch.rand(1, 74, 2, 3))


def test_enmap_s_own_bands_go_in_unchanged_and_others_are_interpolated_between_their_neighbours():
    resampler = spectralearth.GridResampler(ENMAP_202_NM)
    assert torch.equal(resampler.weights_SC, torch.eye(202))
    ramp = torch.tensor(HCV2_NM, dtype=torch.float32).view(1, 128, 1, 1)
    found = spectralearth.GridResampler(HCV2_NM)(ramp).flatten()
    covered = [ENMAP_202_NM[place] for place in covered_samples(HCV2_NM)]
    wanted = np.clip(covered, 449, 957)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5)
    assert len(covered) >= 75
    assert np.all(np.diff(covered) > 0)  # one detector: the few bands of the second that are covered follow on no other


def test_bands_in_any_order_and_doubled_ones_are_interpolated_alike():
    order = np.random.default_rng(0).permutation(128)
    x = torch.rand(1, 128, 2, 2)
    sorted_out, mixed = spectralearth.GridResampler(HCV2_NM), spectralearth.GridResampler(HCV2_NM[order])
    torch.testing.assert_close(mixed(x[:, order]), sorted_out(x))
    doubled = interpolation_weights([*ENMAP_202_NM[:80], ENMAP_202_NM[0]])
    assert doubled[0] == {0: 0.5, 80: 0.5}
    assert all(abs(sum(row.values()) - 1) < 1e-9 for row in doubled)


def test_bands_that_no_sample_is_made_of_are_counted_out():
    strategy = make(regime="full")
    assert build(strategy, HCV2_NM).stem[0].bands_used == 128
    beyond = [*HCV2_NM, 2600.0, 2700.0]
    assert build(strategy, [*np.linspace(300, 410, 12), *HCV2_NM]).stem[0].bands_used < 140
    assert build(strategy, beyond).stem[0].bands_used <= 130


@pytest.mark.parametrize(
    ("wavelengths_nm", "values", "text"),
    [
        (np.linspace(468, 643, 15), {}, "15 bands: SpectralEarth takes 75 or more"),
        (np.linspace(600, 975, 25), {}, "25 bands: SpectralEarth takes 75 or more"),
        (np.linspace(468, 643, 74), {"resample": "none"}, "74 bands: SpectralEarth takes 75 or more"),
        (np.linspace(468, 643, 100), {}, "cover 3. neighbouring bands of the 202"),
        (np.linspace(0.42, 2.4, 200), {}, "looks like micrometres"),
    ],
)
def test_a_sensor_that_covers_too_little_is_refused(wavelengths_nm, values, text):
    with pytest.raises(StrategyError, match=text):
        build(make(**values), wavelengths_nm)


def test_unknown_wavelengths_are_refused_where_bands_are_resampled_only():
    with pytest.raises(StrategyError, match="set resample to none"):
        make().check_sensor(200, None)
    make(resample="none").check_sensor(200, None)
    model = make(resample="none").build(num_bands=103, wavelengths_nm=None, num_classes=5, image_size=32)
    assert model(torch.rand(1, 103, 9, 6)).shape == (1, 5, 9, 6)


@pytest.mark.parametrize("wavelengths_nm", [HCV2_NM, np.linspace(400, 2500, 200)], ids=["128", "200"])
def test_forward_and_backward(wavelengths_nm):
    model = build(make(regime="full"), wavelengths_nm)
    model(torch.rand(2, len(wavelengths_nm), 10, 13)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


# --- regimes ----------------------------------------------------------------------------------------------------------


def test_the_stem_trains_alone_or_with_the_first_blocks_as_published():
    trained = {}
    for blocks in (0, 1):
        names = trainable_parameters(build(make(regime="stem", stem_blocks=blocks), HCV2_NM))
        trained[blocks] = {name.split(".")[0] + "." + name.split(".")[1] for name in names}
        assert any(name.startswith("stem.1.0") for name in names)
    assert "backbone.blocks" not in trained[0]
    assert "backbone.blocks" in trained[1]


def test_lora_reaches_queries_keys_values_and_projections_only():
    names = trainable_parameters(build(make(regime="lora"), HCV2_NM))
    backbone = {name.split(".parametrizations")[0] for name in names if name.startswith("backbone")}
    assert backbone == {f"backbone.blocks.{n}.attn.{what}" for n in range(2) for what in ("qkv", "proj")}


def test_cached_features_have_the_shape_that_is_announced_and_the_last_layernorm_is_in_them():
    strategy = make(enlarge=2)
    model = build(strategy, HCV2_NM).eval()
    (level,) = model.features(torch.rand(1, 128, 10, 13))
    assert (tuple(level.shape[1:]),) == strategy.cached_features(10, 13)
    torch.testing.assert_close(level.mean(1), torch.zeros_like(level.mean(1)), atol=1e-4, rtol=0)


def test_positions_are_the_published_ones_at_the_published_size():
    backbone = spectralearth.SpecViT("reduced")
    seen = []
    backbone.blocks[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        torch.nn.init.normal_(backbone.pos_embed)
        backbone.patch_embed.proj.weight.zero_()
        backbone.patch_embed.proj.bias.zero_()
        backbone.cls_token.zero_()
        backbone(torch.rand(1, 32, 128, 128))
        backbone(torch.rand(1, 32, 64, 32))
    assert torch.equal(seen[0], backbone.pos_embed)
    assert seen[1].shape == (1, 1 + 16 * 8, 32)


def test_an_objective_that_is_not_published_for_a_size_is_refused():
    with pytest.raises(StrategyError, match="pretrained_by 'dino' is not published for size 'base'"):
        SpectralEarth(pretrained_by="dino")


if __name__ == "__main__":
    for file, file_layout in LAYOUTS.items():
        rows = published_rows(WIDTHS[file[0]], file_layout)
        write_manifest(f"spectralearth_{file}.json", SOURCE, rows, assumed=ASSUMED[file_layout])
