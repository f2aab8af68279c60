"""What the bookkeeping costs at 100, 1,000 and 10,000 runs, and a plan of 100,000: no training, all else for real.

    python benchmarks/bookkeeping.py [--runs 100 1000 10000] [--plan 100000] [--check] [--write]

Each size drives the real searcher, journal, spool and SQLite ledger with runs that take no time (`instant_sweep.py`),
in a process of its own; then the real command plans it, shows its status, runs it again with nothing to do and
reports it. The data of Indian Pines must be prepared (they are where any sweep on them ran).

--check compares the growth with near-linear and exits 1 where a size costs more than twice as much a run as the one
before; --write puts the table into docs/scale.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "scale.md"
PLAN_LIMIT_S, NO_OP_LIMIT_S, GROWTH_LIMIT = 10.0, 5.0, 2.0
SMALLEST_COMPARED = 1000
"""Below it, constant parts (imports, the store's first tables) are most of what is measured."""
LINES = (
    ("runs", "runs in the grid", ",.0f"),
    ("cells", "cells", ",.0f"),
    ("decisions_a_second", "decisions a second (suggest, end of a segment)", ",.0f"),
    ("suggest_p50_ms", "suggest, middle (ms)", ".2f"),
    ("suggest_p99_ms", "suggest, 99th percentile (ms)", ".1f"),
    ("complete_p50_ms", "end of a segment, middle (ms)", ".2f"),
    ("complete_p99_ms", "end of a segment, 99th percentile (ms)", ".1f"),
    ("runs_told_a_second", "runs told to MLflow a second", ".1f"),
    ("events_a_second", "events told to MLflow a second", ",.0f"),
    ("cpu_ms_a_run", "CPU time a run, all of it (ms)", ".1f"),
    ("memory_mib", "largest memory of the driver (MiB)", ",.0f"),
    ("spool_mib", "largest spool (MiB)", ".1f"),
    ("plan_s", "`plan` (s)", ".2f"),
    ("status_s", "`status` (s)", ".2f"),
    ("first_rerun_s", "first re-run: ledger put in order, report made (s)", ".1f"),
    ("no_op_s", "re-run with nothing to do (s)", ".2f"),
    ("report_s", "`report` (s)", ".1f"),
)
SCALED = ("decisions_s", "told_s", "plan_s", "status_s", "report_s")
"""Seconds that must grow at most linearly with the runs, times GROWTH_LIMIT."""


def measure(runs: int, folder: Path) -> dict[str, float]:
    """Everything of one size."""
    grid = _grid(runs, folder)
    command = [sys.executable, "-m", "benchmarks.instant_sweep", str(grid), str(folder)]
    found: dict[str, float] = json.loads(_output(command))
    found["runs_told_a_second"] = found["trainings"] / found["told_s"]
    found["events_a_second"] = found["events"] / found["told_s"]
    found["cpu_ms_a_run"] = 1000 * found["cpu_s"] / found["runs"]
    for name, verb in (("plan_s", "plan"), ("status_s", "status"), ("first_rerun_s", "run"), ("no_op_s", "run")):
        found[name] = _seconds(verb, grid, folder)
    found["report_s"] = _seconds("report", grid, folder)
    return found


def measure_plan(runs: int, folder: Path) -> dict[str, float]:
    """Seconds of a plan, as a table and as JSON."""
    grid = _grid(runs, folder)
    return {
        "runs": runs,
        "plan_s": _seconds("plan", grid, folder),
        "plan_json_s": _seconds("plan", grid, folder, "--json"),
    }


def _grid(runs: int, folder: Path) -> Path:
    from benchmarks.instant_sweep import grid_text

    path = folder / f"instant_{runs}.yaml"
    path.write_text(grid_text(runs, path.stem))
    return path


def _seconds(verb: str, grid: Path, folder: Path, *more: str) -> float:
    began = time.perf_counter()
    _output([sys.executable, "-m", "orchestrator.cli", verb, "--grid", str(grid), "--out", str(folder), *more])
    return time.perf_counter() - began


def _output(command: list[str]) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    if done.returncode:
        raise SystemExit(
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return done.stdout


def prepare_data() -> None:
    """Indian Pines comes with a package: prepared once, by the real command."""
    _output([sys.executable, "-m", "orchestrator.cli", "data", "prepare", "indian_pines"])


def table(sizes: list[dict[str, float]], plan: dict[str, float] | None) -> str:
    """The figures as a Markdown table, one column a size."""
    rows = [[words, *(format(size[name], form) for size in sizes)] for name, words, form in LINES]
    header = ["", *(f"{size['runs']:,.0f} runs" for size in sizes)]
    lines = [f"| {' | '.join(header)} |", f"|---|{'---:|' * len(sizes)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    if plan is not None:
        words = f"{plan['plan_s']:.1f} s in the terminal, {plan['plan_json_s']:.1f} s as JSON"
        lines += ["", f"A plan of {plan['runs']:,} runs: {words}."]
    return "\n".join(lines)


def problems(sizes: list[dict[str, float]], plan: dict[str, float] | None) -> list[str]:
    """Where a figure breaks what is promised."""
    found = []
    if plan is not None and max(plan["plan_s"], plan["plan_json_s"]) > PLAN_LIMIT_S:
        found.append(f"the plan of {plan['runs']:,} runs took more than {PLAN_LIMIT_S:g} s")
    for size in sizes:
        if size["runs"] <= SMALLEST_COMPARED and size["no_op_s"] > NO_OP_LIMIT_S:
            found.append(f"a re-run of {size['runs']:,} finished runs took {size['no_op_s']:.1f} s")
    compared = [size for size in sizes if size["runs"] >= SMALLEST_COMPARED]
    for small, large in zip(compared, compared[1:], strict=False):
        for name in SCALED:
            growth = (large[name] / large["runs"]) / (small[name] / small["runs"])
            if growth > GROWTH_LIMIT:
                found.append(f"{name} a run grew {growth:.1f}-fold from {small['runs']:,} to {large['runs']:,} runs")
    return found


def main() -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[100, 1000, 10_000], help="sizes to drive")
    parser.add_argument("--plan", type=int, default=100_000, help="runs of the plan that is only planned; 0 = none")
    parser.add_argument("--check", action="store_true", help="exit 1 where the growth is not near linear")
    parser.add_argument("--write", action="store_true", help=f"put the table into {DOCUMENT.relative_to(ROOT)}")
    arguments = parser.parse_args()
    prepare_data()
    sizes: list[dict[str, float]] = []
    plan: dict[str, Any] | None = None
    with tempfile.TemporaryDirectory() as folder:
        if arguments.plan:
            plan = measure_plan(arguments.plan, Path(folder))
        for runs in sorted(arguments.runs):
            print(f"{runs:,} runs ...", file=sys.stderr, flush=True)
            sizes.append(measure(runs, Path(folder)))
    text = table(sizes, plan)
    print(text)
    if arguments.write:
        from benchmarks.measured import write_measured

        write_measured(DOCUMENT, text)
    found = problems(sizes, plan)
    for problem in found:
        print(f"not as promised: {problem}")
    return 1 if found and arguments.check else 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
