"""Grids are read from packages and files, changed by overrides, and wrong ones are refused in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config import METRIC_NAMES, GridConfig, list_grids, load_grid, storage_of
from orchestrator.errors import ConfigError
from orchestrator.metrics import METRICS

MINIMAL = """
strategies: [in_domain/unet]
datasets: [indian_pines]
label_budgets: [0.1]
"""


@pytest.fixture
def grid_file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(MINIMAL)
    return path


def load_text(tmp_path: Path, text: str) -> GridConfig:
    path = tmp_path / "given.yaml"
    path.write_text(text)
    return load_grid(str(path))


@pytest.mark.parametrize("name", list_grids())
def test_every_packaged_grid_loads_and_is_named_as_its_file(name: str) -> None:
    grid = load_grid(name)
    assert grid.name == name
    assert grid.description


@pytest.mark.parametrize("name", list_grids())
def test_every_packaged_grid_begins_with_what_it_shows_its_command_size_and_minutes(name: str) -> None:
    import orchestrator.config.loading as loading

    header = (loading.GRID_FOLDER / f"{name}.yaml").read_text()
    for word in ("# Shows:", f"# Command: hsfm-sweep --grid {name}", "# Size:", "# Minutes:"):
        assert word in header


def test_the_packaged_grids_are_the_promised_ones() -> None:
    assert {"smoke", "quick", "full", "indian_pines_anchor"} <= set(list_grids())


def test_a_users_file_without_a_name_is_named_as_the_file(grid_file: Path) -> None:
    assert load_grid(str(grid_file)).name == "mine"


def test_overrides_change_numbers_lists_and_mappings(grid_file: Path) -> None:
    given = ["train.steps=5", "train.evaluations=1", "label_budgets=[0.05,{k_shot: 5}]", "search.rungs=[0.25, 0.5]"]
    grid = load_grid(str(grid_file), given)
    assert grid.train.steps == 5
    assert grid.label_budgets == [0.05, {"k_shot": 5}]
    assert grid.search.rungs == [0.25, 0.5]


def test_an_overriding_list_replaces_the_grids(grid_file: Path) -> None:
    assert load_grid(str(grid_file), ["strategies=[in_domain/svm_rbf]"]).strategies == ["in_domain/svm_rbf"]


def test_an_override_can_name_an_entry_of_a_list(grid_file: Path) -> None:
    block = "blocks=[{strategies: [a], datasets: [b], label_budgets: [1], optional: true}]"
    grid = load_grid(str(grid_file), [block, "blocks[0].optional=false", "blocks[0].train.steps=7"])
    assert not grid.blocks[0].optional
    assert grid.blocks[0].train == {"steps": 7}


def test_data_set_files_are_looked_for_beside_the_grid_file(tmp_path: Path) -> None:
    (tmp_path / "cubes.yaml").write_text("name: cubes")
    grid = load_text(tmp_path, MINIMAL.replace("[indian_pines]", "[cubes.yaml]"))
    assert grid.datasets == [str(tmp_path / "cubes.yaml")]


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("train.stepz=5", ["stepz", "Did you mean 'steps'?", "batch_size"]),
        ("sedes=5", ["sedes", "Did you mean 'seeds'?"]),
        ("search.metric=miuo", ["unknown metric 'miuo'", "Did you mean 'miou'?", "kappa"]),
        ("search.stopping=asha", ["asha", "rungs", "none"]),
        ("search.selection=all", ["search.selection", "validation_matched", "held_out_shots"]),
        ("split=blok", ["blok", "Did you mean 'block'?"]),
        (
            "blocks=[{strategies: [a], datasets: [b], label_budgets: [1], split: rnadom}]",
            ["value of blocks[0].split", "Did you mean 'random'?"],
        ),
        ("train.precision=fp64", ["fp64", "fp32", "bf16", "fp16"]),
        ("train.steps=0", ["train.steps is 0", "at least 1", "train.steps=VALUE"]),
        ("train.steps=1.5", ["train.steps is 1.5", "a whole number"]),
        ("train.steps=many", ["train.steps is 'many'", "a whole number"]),
        ("train.steps=", ["train.steps is None", "a whole number"]),
        ("seeds=true", ["seeds is True", "a whole number"]),
        ("seeds=0", ["seeds is 0", "at least 1"]),
        ("train.evaluations=401", ["train.evaluations is 401", "train.steps = 400"]),
        ("train.weight_decay=nan", ["train.weight_decay is nan", "at least 0"]),
        ("train.warmup_fraction=1", ["train.warmup_fraction is 1.0", "[0, 1)"]),
        ("train.world_size=3", ["train.batch_size is 8", "multiple of train.world_size = 3"]),
        ("search.rungs=[0.5,0.25]", ["search.rungs is [0.5, 0.25]", "ascending"]),
        ("search.rungs=[1.0]", ["search.rungs", "(0, 1)"]),
        ("search.rungs=0.5", ["search.rungs is 0.5", "a list"]),
        ("search.reduction=1", ["search.reduction is 1", "at least 2"]),
        ("execution.groups=-1", ["execution.groups is -1", "at least 0"]),
        ("execution.gpus_per_worker=-2", ["-1 (one where there are any)"]),
        ("execution.isolation=pod", ["pod", "group", "run"]),
        ("datasets=indian_pines", ["datasets is 'indian_pines'", "a list"]),
        ("datasets=[]", ["datasets is empty", "at least one entry"]),
        ("name=../elsewhere", ["'../elsewhere'", "cannot be a folder"]),
        ("blocks[2].optional=true", ["blocks is", "a list"]),
        ("seeds", ["override 'seeds'", "key=value"]),
        ("seeds=[1", ["override 'seeds=[1'", "YAML"]),
    ],
)
def test_a_wrong_override_is_refused_with_value_and_allowed(grid_file: Path, override: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_grid(str(grid_file), [override])
    for part in parts:
        assert part in str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value", ["${oc.env:HOME}", "x${oc.env:HOME}y", "${oc.${description}:HOME}", "${oc.decode:'1'}", "${oc.create:{}}"]
)
def test_no_resolver_runs_in_a_grid(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match="resolver"):
        load_text(tmp_path, MINIMAL + f'description: "{value}"\n')


def test_one_key_may_name_another(tmp_path: Path) -> None:
    assert load_text(tmp_path, MINIMAL + "seeds: 4\nsearch:\n  trials: ${seeds}\n").search.trials == 4


@pytest.mark.parametrize("text", ["a: [1", "seeds: 1\nseeds: 2\n", "- a\n- b\n", "!!python/object/apply:os.getcwd []"])
def test_a_file_that_is_no_grid_is_refused_as_such(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"given\.yaml"):
        load_text(tmp_path, text)


def test_an_unknown_key_of_a_block_names_the_block(tmp_path: Path) -> None:
    block = "blocks:\n  - {strategies: [a], datasets: [b], label_budgets: [1], optionl: true}\n"
    with pytest.raises(ConfigError, match=r"blocks\[0\] 'optionl'. Did you mean 'optional'"):
        load_text(tmp_path, block)


def test_training_settings_of_a_block_are_checked_as_the_grids(tmp_path: Path) -> None:
    block = "blocks:\n  - {strategies: [a], datasets: [b], label_budgets: [1], train: {steps: many}}\n"
    with pytest.raises(ConfigError, match=r"blocks\[0\].train: steps is 'many'; allowed: a whole number"):
        load_text(tmp_path, block)


def test_an_unknown_grid_is_answered_with_the_nearest_and_all_names() -> None:
    with pytest.raises(ConfigError, match=r"unknown grid 'quik'. Did you mean 'quick'\? Known: .*smoke"):
        load_grid("quik")


def test_a_grid_file_that_does_not_exist_is_told_as_such() -> None:
    with pytest.raises(ConfigError, match=r"'nowhere.yaml' does not exist"):
        load_grid("nowhere.yaml")


def test_a_grid_may_select_on_every_metric_there_is_and_no_other() -> None:
    assert sorted(METRIC_NAMES) == sorted(METRICS)


def test_the_home_folder_in_a_storage_path_is_written_out() -> None:
    grid = load_grid("smoke", ["execution.storage_path=~/somewhere"])
    assert grid.execution.storage_path == str(Path.home() / "somewhere")
    assert storage_of(grid, Path("/sweeps/smoke")) == str(Path.home() / "somewhere")
    assert storage_of(load_grid("smoke"), Path("/sweeps/smoke")) == "/sweeps/smoke/checkpoints"
    assert load_grid("smoke", ["execution.storage_path=s3://bucket/~x"]).execution.storage_path == "s3://bucket/~x"
