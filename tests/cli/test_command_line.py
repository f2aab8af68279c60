"""Verbs, exit statuses and messages of the command line, on the real functions."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from orchestrator.cli import hsfm_sweep, main

Run = Callable[..., tuple[int, str, str]]

FLAGS = {
    "run": "--accept-license --data-root --debug --grid --out --plugin --tracking-uri OVERRIDES",
    "plan": "--accept-license --all --data-root --debug --grid --json --out --plugin --tracking-uri OVERRIDES",
    "status": "--accept-license --all --cell --data-root --debug --grid --json --log-lines --out --plugin --state "
    "--tracking-uri --watch OVERRIDES",
    "retry": "--accept-license --cell --data-root --debug --grid --out --plugin --tracking-uri OVERRIDES",
    "report": "--accept-license --data-root --debug --grid --metric --out --plugin --to --tracking-uri OVERRIDES",
    "reconcile": "--accept-license --data-root --debug --grid --json --out --plugin --take-over --tracking-uri "
    "OVERRIDES",
    "gc": "--accept-license --apply --cache --data-root --debug --failed --grid --json --log-days --logs --models "
    "--out --plugin --tracking-uri --unknown OVERRIDES",
    "doctor": "--accept-license --data-root --debug --deep --grid --json --out --plugin --tracking-uri OVERRIDES",
    "rescore": "--accept-license --by-class --by-unit --data-root --debug --grid --json --metric --metric-file --out "
    "--plugin --tracking-uri --write OVERRIDES",
    "reproduce": "--data-root --debug --epochs --json --list --out --plan --tracking-uri OVERRIDES ROW",
    "verify": "--data-root --debug --epochs --json --out --tracking-uri BENCHMARK",
    "predict": "--band-axis --data-root --dataset --debug --grid --ignore-wavelengths --json --model --out "
    "--overwrite --plugin --scale --to --tracking-uri --variable CUBES",
    "export": "--accept-license --data-root --dataset --debug --grid --json --model --no-onnx --out --overwrite "
    "--plugin --to --tracking-uri OVERRIDES",
    "ui": "--accept-license --data-root --debug --grid --out --plugin --port --tracking-uri OVERRIDES",
    "cluster check": "--debug --json FILE",
    "data list": "--data-root --debug --json",
    "data info": "--data-root --debug --json NAME",
    "data fetch": "--data-root --debug NAMES",
    "data prepare": "--data-root --debug NAMES",
    "data audit": "--data-root --debug --fold --json --labels --plugin --seed --selection --split --strategy NAME",
    "data cubes": "--data-root --debug --to NAME",
    "data init": "--debug --print FOLDER",
    "data imitate": "--debug --images --seed --to --true-size NAMES",
    "weights list": "--data-root --debug --json",
    "weights info": "--data-root --debug --json NAME",
    "weights fetch": "--accept-license --data-root --debug --from NAMES",
    "weights check": "--as --data-root --debug --json FILE SUBJECT",
    "weights convert": "--debug FILE NAME TARGET",
    "weights imitate": "--debug --to NAMES",
    "strategy list": "--debug --json --plugin",
    "strategy info": "--debug --json --plugin NAME",
    "strategy init": "--debug --family --kind --to NAME",
    "strategy check": "--data-root --debug --plugin NAMES",
}


@pytest.fixture(autouse=True)
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty place: no data root, an empty cache, no server, a fresh folder."""
    for name in ("HSFM_DATA_ROOT", "MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HSFM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        status = main(arguments)
        output = capsys.readouterr()
        return status, output.out, output.err

    return call


def commands(group: click.Group, prefix: str = "") -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        found |= commands(command, f"{prefix}{name} ") if isinstance(command, click.Group) else {prefix + name: command}
    return found


def spawn(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    return subprocess.Popen([sys.executable, *arguments], env=environment, text=True, **options)


@pytest.fixture(scope="module")
def prepared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with Indian Pines prepared, made once."""
    from orchestrator.datasets.locations import DataLocations
    from orchestrator.datasets.prepare import prepare

    cache = tmp_path_factory.mktemp("cache")
    prepare("indian_pines", DataLocations(data_root=None, cache=cache))
    return cache


@pytest.fixture(scope="module")
def started_root(tmp_path_factory: pytest.TempPathFactory, prepared_cache: Path) -> Path:
    """A root with a sweep whose second cell has a finished, a running and a failed slot, in a real ledger."""
    from orchestrator.api_plan import build_plan
    from orchestrator.config import load_grid
    from orchestrator.datasets.locations import DataLocations
    from orchestrator.ledger.records import SlotRecord
    from orchestrator.ledger.store import open_ledger

    root = tmp_path_factory.mktemp("sweeps")
    cell = build_plan(load_grid("smoke"), DataLocations(data_root=None, cache=prepared_cache), root).cells[1]
    with open_ledger(root / "smoke", "smoke", mode="drive") as ledger:
        cell_id = str(cell.cell_id)
        ledger.ensure_cell(cell_id, str(cell.cell), {"hsfm.strategy_name": cell.cell.strategy.name})
        done = {"state": "finished", "scores": {"val/miou": 0.625}, "seconds": 40.0, "reached_step": 20}
        ledger.put_slot(cell_id, SlotRecord(slot="search/f0/0", key="a" * 16, **done))  # type: ignore[arg-type]
        ledger.put_slot(cell_id, SlotRecord(slot="search/f0/1", key="b" * 16, state="running"))
        ledger.put_slot(cell_id, SlotRecord(slot="final/0", key="c" * 16, state="failed", error="it broke"))
    return root


@pytest.fixture
def smoke(started_root: Path, prepared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Arguments that name the started sweep."""
    monkeypatch.setenv("HSFM_CACHE", str(prepared_cache))
    return ("--grid", "smoke", "--out", str(started_root))


# --- what there is -------------------------------------------------------------------------------------------------


def test_the_list_of_verbs_and_flags_is_this_one() -> None:
    # Few verbs and few flags: everything else is configuration. A new one is a decision, so it is made here too.
    found = {}
    for name, command in commands(hsfm_sweep).items():
        flags = [parameter.opts[0] for parameter in command.params if isinstance(parameter, click.Option)]
        arguments = [parameter.name or "" for parameter in command.params if isinstance(parameter, click.Argument)]
        found[name] = " ".join([*sorted(flags), *sorted(argument.upper() for argument in arguments)])
    assert {name: flags.replace("PLUGINS", "PLUGIN") for name, flags in found.items()} == FLAGS


@pytest.mark.parametrize("verb", FLAGS)
def test_every_verb_explains_itself(run: Run, verb: str) -> None:
    status, out, _ = run(*verb.split(), "--help")
    assert status == 0
    command = commands(hsfm_sweep)[verb]
    assert command.help
    assert all(parameter.help for parameter in command.params if isinstance(parameter, click.Option))
    assert command.help.split()[0] in out


def test_version_and_help_end_well(run: Run) -> None:
    assert run("--version")[0] == 0
    status, out, _ = run("--help")
    assert status == 0
    assert "Exit status: 0 all that was asked for is done" in out


# --- plan ----------------------------------------------------------------------------------------------------------


def test_plan_shows_every_cell_with_its_reason_and_the_cost(run: Run) -> None:
    status, out, _ = run("plan", "--grid", "quick")
    assert status == 0
    assert "cross_modality/efficientnet_lite0[init=random,regime=frozen]" in out
    assert "hsfm-sweep data fetch enmap_potsdam" in out
    assert "18 cells (16 missing, 2 blocked)" in out
    assert "disk at most" in out


def test_plan_creates_nothing(run: Run, tmp_path: Path) -> None:
    run("plan", "--grid", "quick")
    run("status", "--grid", "quick")
    assert list(tmp_path.iterdir()) == []


def test_plan_as_json_has_every_documented_key(run: Run) -> None:
    status, out, _ = run("plan", "--grid", "quick", "seeds=3", "--json")
    assert status == 0
    data = json.loads(out)
    documented = {"schema", "name", "cells", "stages", "totals", "feasible", "feasibility", "groups", "expected_use"}
    assert {*documented, "shapes"} == set(data)
    assert data["totals"]["cells"] == len(data["cells"]) == 18
    cell = data["cells"][0]
    assert cell["seeds"] == 3
    assert {
        "cell_id", "strategy", "strategy_name", "regime", "init", "control_of", "dataset", "label_budget", "state",
        "reason", "remedy", "optional", "transfer", "leakage", "split", "selection", "chosen_on", "folds", "trials",
        "seeds", "tuned", "runs", "runs_done", "runs_failed", "device_s", "device_left_s", "measured", "disk_gib",
        "notes",
    } == set(cell)  # fmt: skip


def test_plan_imports_neither_torch_nor_ray_nor_mlflow() -> None:
    code = (
        "import sys\nfrom orchestrator.cli import main\nstatus = main(['plan', '--grid', 'full'])\n"
        "heavy = {'torch', 'timm', 'ray', 'mlflow', 'optuna', 'sklearn', 'scipy', 'pandas', 'matplotlib'}\n"
        "sys.exit(status or sorted(heavy & set(sys.modules)) or 0)"
    )
    process = spawn("-c", code, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors


def test_a_worker_group_that_does_not_fit_the_machine_is_refused_after_the_plan(run: Run) -> None:
    status, out, error = run("plan", "--grid", "smoke", "train.world_size=8", "execution.cpus_per_worker=1000")
    assert status == 2
    assert "in_domain/spectral_cnn" in out
    assert "needs 8000 CPUs" in error


# --- wrong usage ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plan"], "no grid was given; allowed: one of few_shot, "),
        (["seeds=3"], "no grid was given"),
        (["plan", "--grid", "quik"], "Did you mean 'quick'?"),
        (["--grid", "quik"], "Did you mean 'quick'?"),
        (["pln", "--grid", "quick"], "unknown verb 'pln'. Did you mean 'plan'?"),
        (["plan", "--grid", "quick", "--gird"], "no such option '--gird'"),
        (["plan", "--grid", "quick", "train.stepz=1"], "Did you mean 'steps'?"),
        (["plan", "--grid", "quick", "strategies=[in_domain/unett]"], "Did you mean 'in_domain/unet'?"),
        (["plan", "--grid", "quick", "datasets=[indian_pine]"], "Did you mean 'indian_pines'?"),
        (["plan", "--grid", "quick", "search.metric=miuo"], "Did you mean 'miou'?"),
        (["plan", "--grid", "quick", "label_budgets=[0]"], "label budget 0 is out of range; allowed: a fraction"),
        (["plan", "--grid", "quick", "label_budgets=[1.5]"], "label budget 1.5 is out of range"),
        (["plan", "--grid", "quick", "search.selection=held_out_shots"], "allowed: {k_shot: N}"),
        (["plan", "--grid", "quick", "datasets=[nowhere.yaml]"], "nowhere.yaml"),
        (["plan", "--grid", "quick", "--tracking-uri", "file:///tmp/mlruns"], "file stores are not supported"),
        (["plan", "--grid", "quick", "--plugin", "mine.txt"], "plugin 'mine.txt' is not a Python file"),
        (["report", "--grid", "quick"], "has no runs in"),
        (["strategy", "info", "in_domain/unett"], "Did you mean 'in_domain/unet'?"),
        (["data", "info", "samsom"], "Did you mean 'samson'?"),
        (["weights", "info", "spectf"], "Did you mean 'spectf_v010'?"),
        (["ui", "--grid", "quick", "--port", "99999999"], "port"),
    ],
)
def test_wrong_usage_ends_with_2_and_one_line_that_helps(run: Run, arguments: list[str], words: str) -> None:
    status, out, error = run(*arguments)
    assert status == 2
    assert error.startswith("hsfm-sweep: error: ")
    assert words in error
    assert "Traceback" not in out + error


def test_debug_shows_where_an_error_came_from() -> None:
    from orchestrator.errors import ConfigError

    with pytest.raises(ConfigError, match="unknown grid"):
        main(["plan", "--grid", "quik", "--debug"])


def test_data_that_is_not_there_ends_with_1_and_says_how_to_get_it(run: Run) -> None:
    status, _, error = run("data", "prepare", "salinas_a")
    assert status == 1
    assert "hsfm-sweep data fetch salinas_a" in error


def test_an_unwritable_report_folder_is_told(run: Run, smoke: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "a_file").touch()
    status, _, error = run("report", *smoke, "--to", str(tmp_path / "a_file" / "report"))
    assert status == 2
    assert "choose another with --to" in error


def test_a_port_in_use_is_told_with_what_to_do(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "hsfm_sweeps" / "quick"
    folder.mkdir(parents=True)
    (folder / "mlflow.db").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, _, error = run("ui", "--grid", "quick", "--port", str(port))
    assert status == 2
    assert str(port) in error
    assert "--port" in error


def test_an_interrupt_ends_with_130_and_says_that_it_resumes() -> None:
    process = spawn(
        "-m", "orchestrator.cli", "status", "--grid", "smoke", "--watch", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command continues" in errors


def test_a_reader_that_has_enough_is_no_error() -> None:
    process = spawn("-m", "orchestrator.cli", "plan", "--grid", "full", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    assert process.wait(timeout=60) == 0


# --- status of a real ledger ---------------------------------------------------------------------------------------


def test_status_tells_runs_scores_failures_and_their_logs(run: Run, smoke: tuple[str, ...], started_root: Path) -> None:
    status, out, _ = run("status", *smoke, "--json")
    assert status == 0
    data = json.loads(out)
    other, cell = data["cells"]
    assert (cell["state"], cell["runs_done"], cell["best_validation"]) == ("failed", 1, 0.625)
    assert (cell["running"], cell["interrupted"]) == (0, 1), "no driver is at work, so nothing is running"
    assert other["state"] == "missing"
    (failure,) = data["failures"]
    assert (failure["error"], failure["count"]) == ("it broke", 1)
    assert failure["log"] == str(started_root / "smoke" / "logs" / f"{'c' * 16}.log")
    _, text, _ = run("status", *smoke)
    assert "it broke" in text
    assert "0.625" in text


def test_plan_rests_its_times_on_what_the_ledger_measured(run: Run, smoke: tuple[str, ...]) -> None:
    cell = json.loads(run("plan", *smoke, "--json")[1])["cells"][1]
    assert cell["measured"]
    # 2 s a step; one round of two trials, of which one goes on after half of the 20 steps; one final
    assert cell["device_s"] == pytest.approx(2.0 * (2 * 10 + 10 + 20))


# --- lists ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "name"), [("strategy", "in_domain/unet"), ("data", "samson"), ("weights", "spectf_v010")]
)
def test_lists_and_datasheets_come_as_text_and_json(run: Run, group: str, name: str) -> None:
    assert name in run(group, "list")[1]
    listed = json.loads(run(group, "list", "--json")[1])
    assert name in {one["name"] for one in listed}
    assert name in run(group, "info", name)[1]
    assert json.loads(run(group, "info", name, "--json")[1])["name"] == name


def test_a_plugin_is_a_strategy_like_any_other(run: Run, tmp_path: Path) -> None:
    (tmp_path / "my_net.py").write_text(
        "from dataclasses import dataclass\nfrom strategies.in_domain.unet import STRATEGY as UNet\n"
        "@dataclass(frozen=True, kw_only=True)\nclass MyNet(UNet):\n    pass\nSTRATEGY = MyNet\n"
    )
    status, out, _ = run("plan", "--grid", "smoke", "strategies=[plugin/my_net]", "--plugin", "my_net.py")
    assert status == 0
    assert "plugin/my_net" in out


def test_audit_tells_the_reach_of_each_strategy(run: Run) -> None:
    status, out, _ = run(
        "data", "audit", "indian_pines", "--strategy", "in_domain/unet", "--strategy", "in_domain/svm_rbf"
    )
    assert status == 0
    assert [line.split(":")[0] for line in out.splitlines()] == ["in_domain/unet", "in_domain/svm_rbf"]


def test_weights_check_loads_every_key(run: Run) -> None:
    status, out, _ = run("weights", "check", "efficientnet_lite0_imagenet")
    assert status == 0
    assert out
