"""What the orchestrator costs: the same 8 runs in a bare Python loop and through the sweep, in one call.

    python benchmarks/overhead.py [--seconds 2 20] [--runs 8]

Both sides train the same runs (same keys, so the same numbers) with one thread on one core. The constant start
(Ray, Tuner, first worker group) is reported beside the ratio, not in it.
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

BATCH_PIXELS = 64


def _grid(steps: int, runs: int, folder: Path) -> Path:
    path = folder / f"overhead_{steps}.yaml"
    path.write_text(
        f"""name: overhead_{steps}
strategies: [in_domain/spectral_cnn]
datasets: [indian_pines]
label_budgets: [0.25]
seeds: {runs}
search: {{selection: none}}
train: {{steps: {steps}, evaluations: 2, pixel_batch_size: {BATCH_PIXELS}}}
execution: {{groups: 1}}
"""
    )
    return path


def bare(grid_path: str, folder: str) -> None:
    """Train every run of the grid one after another, without Ray, Tune or MLflow; print seconds of each."""
    import torch

    torch.set_num_threads(1)
    from orchestrator import api
    from orchestrator.datasets.locations import DataLocations
    from orchestrator.datasets.prepare import prepare
    from orchestrator.execution.seat import Seat
    from orchestrator.execution.training import NetworkRun
    from orchestrator.plan.slots import final_spec
    from strategies.registry import get_strategy

    prepared = prepare("indian_pines", DataLocations.from_environment())
    planned = api.plan(grid_path, root=Path(folder) / "plan").cells[0]
    seat = Seat(rank=0, world_size=1, device=torch.device("cpu"), tell=lambda _: "", first=lambda ask: ask())
    seconds = []
    for seed in range(planned.seeds):
        spec = final_spec(planned, seed, {})
        job = {
            "prepared_path": str(prepared),
            "storage": folder,
            "attempt": 1,
            "until_step": spec.train["steps"],
            "weights_path": None,
        }
        started = time.perf_counter()
        event = NetworkRun(spec, job, get_strategy(spec.strategy)(**spec.fields), seat).run()
        seconds.append(time.perf_counter() - started)
    print(json.dumps({"seconds": seconds, "last_loss": event["scores"]["train/loss"]}))


def _bare_seconds(grid: Path, folder: Path) -> list[float]:
    command = [sys.executable, __file__, "--bare", str(grid), str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    return json.loads(done.stdout.strip().splitlines()[-1])["seconds"]


def measure(seconds: float, runs: int, folder: Path) -> None:
    """Print one line: a run's length, both totals, their ratio, and the constant start."""
    from rich.console import Console

    from orchestrator import api

    trial_steps = 40
    _bare_seconds(_grid(trial_steps, 2, folder), folder / "warm")
    per_step = _bare_seconds(_grid(trial_steps * 2, 2, folder), folder / "calibration")[-1] / (trial_steps * 2)
    grid = _grid(max(4, round(seconds / per_step)), runs, folder)
    loop = sum(_bare_seconds(grid, folder / "bare"))
    outcome = api.run(str(grid), root=folder / "sweeps", console=Console(quiet=True))
    timing = outcome.timing
    if timing is None or outcome.exit_code:
        raise SystemExit(f"the sweep did not finish: {outcome.failed or outcome.stop_reason}")
    print(
        f"{loop / runs:6.1f} s a run, {runs} runs: bare loop {loop:7.1f} s, orchestrated {timing.runs_s:7.1f} s, "
        f"bare/orchestrated {loop / timing.runs_s:.3f}; constant start {timing.start_s:.1f} s; "
        f"group idle between runs {sum(timing.gaps_s):.2f} s in all",
        flush=True,
    )


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, nargs="+", default=[2.0, 20.0], help="lengths of a run to measure")
    parser.add_argument("--runs", type=int, default=8, help="runs of each length")
    parser.add_argument("--bare", nargs=2, metavar=("GRID", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        bare(*arguments.bare)
        return
    for seconds in arguments.seconds:
        with tempfile.TemporaryDirectory() as folder:
            measure(seconds, arguments.runs, Path(folder))


if __name__ == "__main__":
    main()
