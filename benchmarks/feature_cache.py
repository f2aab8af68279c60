"""What the feature cache saves: one frozen cell with 8 trials and 5 final seeds, with and without it.

    python benchmarks/feature_cache.py [--steps 100] [--trials 8] [--seeds 5] [--check]

SpecTf with its real EMIT weights, frozen, on the EnMAP tiles (a data set of `data fetch enmap_potsdam`). Both sides
train the same runs one after another with one thread, without Ray or MLflow; the extraction is on the bill. Then the
finals are compared: share of equal predictions, and differences of test scores in points.
`--check` ends with 1 where the cache is less than 5 times faster, fewer than 99.9% of the predictions are equal, or a
score of the cell moves by more than 0.1 point.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

GRID = """name: feature_cache
strategies: [{{name: cross_domain/spectf, regime: frozen}}]
datasets: [enmap_potsdam]
label_budgets: [0.1]
seeds: {seeds}
controls: false
search: {{trials: {trials}, stopping: none}}
train: {{steps: {steps}, evaluations: 2, pixel_batch_size: 64, feature_cache: {cached}}}
"""
RATES = (1e-3, 2e-3, 3e-3, 4e-3, 6e-3, 8e-3, 1e-2, 2e-2)
SCORES = ("test/miou", "test/oa", "test/kappa")


def side(folder: Path, *, is_cached: bool, steps: int, trials: int, seeds: int) -> tuple[float, float, list[Any]]:
    """Seconds of the extractions, seconds of all trainings, and the ends of the finals."""
    from orchestrator import api
    from orchestrator.api_plan import weights_status
    from orchestrator.datasets.locations import DataLocations
    from orchestrator.datasets.prepare import prepare
    from orchestrator.plan.slots import final_spec, search_spec
    from orchestrator.plan.stages import stages_of

    folder.mkdir(parents=True)
    grid = folder / "grid.yaml"
    grid.write_text(GRID.format(steps=steps, trials=trials, seeds=seeds, cached=str(is_cached).lower()))
    locations = DataLocations.from_environment()
    places = {
        "prepared_path": str(prepare("enmap_potsdam", locations)),
        "weights_path": weights_status("spectf_v010", locations).path,
        "storage": str(folder),
        "attempt": 1,
    }
    planned = api.plan(grid, root=folder).cells[0]
    extracted: dict[str, float] = {}
    trained_s, ends = 0.0, []
    specs = [
        search_spec(planned, fold, n, {"learning_rate": RATES[n % len(RATES)]})
        for fold in planned.folds_used[:1]
        for n in range(trials)
    ]
    specs += [final_spec(planned, seed, {"learning_rate": RATES[2]}) for seed in range(seeds)]
    for spec in specs:
        stages = stages_of(planned, spec.fold, spec.seed, is_search=spec.stage == "search")
        for stage in stages:
            if stage.key not in extracted:
                extracted[stage.key] = _timed(stage, places, ())[0]
        seconds, event = _timed(spec, places, stages)
        trained_s += seconds
        if spec.stage == "final":
            ends.append(event)
    return sum(extracted.values()), trained_s, ends


def _timed(spec: Any, places: dict[str, Any], stages: Sequence[Any]) -> tuple[float, Any]:
    import torch

    from orchestrator.execution.seat import Seat
    from orchestrator.execution.worker_group import run_kind
    from strategies.registry import make_strategy

    job = {**places, "until_step": spec.train["steps"], "stages": [one.to_json() for one in stages]}
    seat = Seat(rank=0, world_size=1, device=torch.device("cpu"), tell=lambda _: "", first=lambda ask: ask())
    began = time.perf_counter()
    event = run_kind(spec.stage)(spec, job, make_strategy(spec.strategy, spec.fields), seat).run()
    return time.perf_counter() - began, event


def main() -> int:
    """Print both sides and their ratio; exit status 1 with `--check` where a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    for name, value in (("steps", 100), ("trials", 8), ("seeds", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--check", action="store_true", help="exit with 1 where a promise is not kept")
    given = parser.parse_args()
    import numpy as np
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        size = {"steps": given.steps, "trials": given.trials, "seeds": given.seeds}
        cached_once, cached_s, cached = side(Path(scratch) / "cached", is_cached=True, **size)
        _, plain_s, plain = side(Path(scratch) / "plain", is_cached=False, **size)
    runs = given.trials + given.seeds
    print(f"{given.trials} trials and {given.seeds} finals of {given.steps} steps, one thread")
    print(f"  without the cache: {plain_s:7.1f} s ({plain_s / runs:.2f} s a run)")
    print(f"  with the cache:    {cached_once + cached_s:7.1f} s, {cached_once:.1f} s of it extraction once")
    ratio = plain_s / (cached_once + cached_s)
    print(f"  {ratio:.1f} times faster")
    moved = total = 0
    for one, other in zip(plain, cached, strict=True):
        a, b = (np.sum([u["confusion"] for u in end["evaluation"]["units"]], axis=0) for end in (one, other))
        moved, total = moved + int(np.abs(a - b).sum()) // 2, total + int(a.sum())
    differences = [
        [100 * (b["scores"][n] - a["scores"][n]) for n in SCORES] for a, b in zip(plain, cached, strict=True)
    ]
    points = float(np.abs(np.mean(differences, axis=0)).max())
    same = 1 - moved / total
    print(f"  at least {same:.4%} of {total} test predictions equal")
    print(f"  the cell's scores ({', '.join(SCORES)}; means over seeds) move by at most {points:.3f} points,")
    print(f"  those of one seed by at most {np.abs(differences).max():.3f}")
    return int(given.check and (ratio < 5 or same < 0.999 or points > 0.1))


if __name__ == "__main__":
    sys.exit(main())
