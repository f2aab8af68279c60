"""Drive a sweep's real bookkeeping with runs that take no time: the searcher, the journal, the spool, MLflow.

Nothing is trained and Ray is not started: the searcher that Ray Tune would ask is asked here, with the same words and
the same number of runs in flight. What a run "scores" is a function of its key, so every repeat decides the same.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

RUNS_A_CELL = 10
TRIALS, SEEDS = 8, 2
LABEL_BUDGETS = (0.05, 0.1, 0.2, 0.35, 0.5)
IN_FLIGHT = 5
"""Four worker groups, and one trial driver started ahead."""
WAITING_EVENTS = 2_000
"""The simulation pauses while so many events wait for MLflow: real runs leave it more time than these do."""
TEST_BLOCKS = 68
"""Test blocks of Indian Pines: a final run reports one confusion matrix for each."""


def grid_text(runs: int, name: str) -> str:
    """A grid of `runs` runs on Indian Pines: strategies of four kinds and their controls x five budgets x ten runs."""
    return "\n".join(
        [
            f"name: {name}",
            "strategies:",
            *(f"  - {json.dumps(entry)}" for entry in _entries(runs // (RUNS_A_CELL * len(LABEL_BUDGETS)))),
            "datasets: [indian_pines]",
            f"label_budgets: {list(LABEL_BUDGETS)}",
            f"seeds: {SEEDS}",
            f"search: {{trials: {TRIALS}, round: 4, rungs: [0.5]}}",
            "train: {steps: 200, evaluations: 4, patch_size: 32}",
            "",
        ]
    )


def _entries(strategies: int) -> list[dict[str, Any]]:
    """Entries that make so many strategies, no two alike; a pretrained one brings its two controls."""
    entries: list[dict[str, Any]] = []
    number = 0
    while strategies > 0:
        entries.append({"name": "in_domain/unet", "width": 4 + number % 250, "depth": 1 + number // 250})
        if strategies >= 6:
            entries.append({"name": "in_domain/svm_rbf", "C": 1 + number})
            entries.append({"name": "in_domain/spectral_cnn", "width": 4 + number % 500})
            entries.append(
                {"name": "cross_modality/efficientnet_lite0", "regime": "frozen", "head_width": 8 + number % 1000}
            )
            strategies -= 5
        strategies -= 1
        number += 1
    return entries


def drive(grid_file: Path, out: Path) -> dict[str, float]:
    """Take every decision of a sweep and tell it to MLflow; what it took.

    Args:
        grid_file: a grid whose data are prepared.
        out: folder of sweeps.
    """
    from orchestrator.api_plan import view_sweep
    from orchestrator.config import load_grid
    from orchestrator.datasets.locations import DataLocations
    from orchestrator.execution.journal import LedgerJournal
    from orchestrator.execution.provenance import provenance_tags
    from orchestrator.execution.sweep_state import SweepState
    from orchestrator.execution.tallies import MODEL_TAG, best_final
    from orchestrator.execution.tune_adapter import SweepSearcher
    from orchestrator.ledger.spool import read_committed
    from orchestrator.ledger.store import open_ledger

    grid = load_grid(str(grid_file))
    cells = view_sweep(grid, DataLocations.from_environment(), out, None).plan.cells
    folder = out / grid.name
    ledger = open_ledger(folder, grid.name, mode="drive")

    def name_model(planned: Any, slots: Any) -> None:
        best = best_final(slots)
        if best is not None:
            ledger.set_cell(str(planned.cell_id), tags={MODEL_TAG: best.key, "hsfm.model_slot": best.slot})

    journal = LedgerJournal(
        ledger,
        logs=folder / "logs",
        provenance=provenance_tags(),
        on_run_closed=lambda *_: None,
        on_cell_closed=name_model,
    )
    began, cpu_began = time.perf_counter(), time.process_time()
    with journal.together():
        for planned in cells:
            journal.open_cell(planned)
    opened_s = time.perf_counter() - began
    state = SweepState(cells, {}, search=grid.search, execution=grid.execution, journal=journal)
    started_s = time.perf_counter() - began - opened_s
    searcher = SweepSearcher(state, _job, lambda _: IN_FLIGHT, lambda *_: None)
    events = folder / "spool" / "events.jsonl"
    clock = Clock()
    spool_bytes = segments = 0
    in_flight: deque[tuple[str, dict[str, Any]]] = deque()
    while True:
        while isinstance(config := clock.timed("suggest", searcher.suggest, f"t{segments}"), dict):
            in_flight.append((f"t{segments}", config))
            segments += 1
        if not in_flight:
            break
        _end_oldest(searcher, clock, *in_flight.popleft())
        spool_bytes = max(spool_bytes, events.stat().st_size)
        while ledger.waiting > WAITING_EVENTS:
            time.sleep(0.02)
    if state.stop_reason:
        raise SystemExit(f"the sweep stopped: {state.stop_reason}")
    ledger.flush(3600)
    told_s = time.perf_counter() - began
    events_told = read_committed(folder / "spool")
    ledger.close(3600)
    slots = [record for cell in state.cells.values() for record in cell.slots.values()]
    return {
        "runs": len(slots),
        "trainings": len({record.key for record in slots}),
        "cells": len(cells),
        "segments": segments,
        "opened_s": opened_s,
        "started_s": started_s,
        **clock.summary(),
        "told_s": told_s,
        "cpu_s": time.process_time() - cpu_began,
        "closed_s": time.perf_counter() - began - told_s,
        "events": events_told,
        "spool_mib": spool_bytes / 2**20,
        "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


class Clock:
    """Seconds of every callback."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    def timed(self, name: str, function: Any, *arguments: Any) -> Any:
        """Call and measure."""
        began = time.perf_counter()
        result = function(*arguments)
        self.seconds.setdefault(name, []).append(time.perf_counter() - began)
        return result

    def summary(self) -> dict[str, float]:
        """Decisions a second (a suggestion or an end is one), and the middle and the slow callbacks in ms."""
        decisions = [*self.seconds["suggest"], *self.seconds["complete"]]
        found = {"decisions_s": sum(decisions), "decisions_a_second": len(decisions) / sum(decisions)}
        for name, seconds in self.seconds.items():
            found[f"{name}_p50_ms"] = 1e3 * float(np.percentile(seconds, 50))
            found[f"{name}_p99_ms"] = 1e3 * float(np.percentile(seconds, 99))
        return found


def _job(segment: Any) -> dict[str, Any]:
    return {
        "spec": segment.spec.to_json(),
        "attempt": segment.attempt,
        "until_step": segment.until_step,
        "stage": segment.spec.stage,
        "key": segment.spec.key,
    }


def _end_oldest(searcher: Any, clock: Clock, trial: str, config: Mapping[str, Any]) -> None:
    """Report what a training would: an evaluation or two, then the end of the segment."""
    job = json.loads(config["job"])
    key, until, train = job["key"], job["until_step"], job["spec"]["train"]
    steps, evaluations = int(train["steps"]), int(train.get("evaluations", 1))
    for number in range(1, evaluations + 1):
        step = steps * number // evaluations
        if until - steps // 2 < step <= until and steps > 1:
            point = {"step": step, "time_ms": int(time.time() * 1000), "scores": _scores(key, step)}
            event = {"kind": "progress", "step": step, "points": [point]}
            clock.timed("progress", searcher.on_trial_result, trial, {"event": json.dumps(event)})
    ended: dict[str, Any] = {"kind": "reached", "step": until, "scores": _scores(key, until), "facts": FACTS}
    ended["seconds"] = 0.02 * until
    if job["stage"] == "final":
        ended["scores"] |= {
            name.replace("val/", "test/"): v for name, v in ended["scores"].items() if "best" not in name
        }
        ended["evaluation"] = evaluation(key)
    event_text = json.dumps(ended)
    clock.timed("complete", searcher.on_trial_complete, trial, {"event": event_text}, False)


FACTS = {
    "parameters_total": 40_000,
    "parameters_trained": 40_000,
    "bands_used": 200,
    "device": "cpu",
    "train_labels": 358,
    "validation_labels": 154,
    "classes_trained": 16,
    "best_step": 200,
}
METRICS = ("miou", "oa", "aa", "kappa", "mean_f1")


def _scores(key: str, step: int) -> dict[str, float]:
    """Scores in 0..1 that depend on the run and the step alone."""
    digest = hashlib.sha256(f"{key} {step}".encode()).digest()
    scores = {f"val/{name}": int.from_bytes(digest[2 * i : 2 * i + 2]) / 65_535 for i, name in enumerate(METRICS)}
    return {"train/loss": 1 - scores["val/oa"], **scores, "val/best_miou": scores["val/miou"]}


def evaluation(key: str) -> dict[str, Any]:
    """The evaluation of a final run: as many confusion matrices, as large, as Indian Pines gives."""
    draw = np.random.default_rng(int(key, 16))
    counts_UKK = draw.integers(0, 40, (TEST_BLOCKS, 16, 16)) * (draw.random((TEST_BLOCKS, 16, 16)) < 0.05)
    return {
        "class_names": [f"class {number}" for number in range(16)],
        "scored_classes": list(range(16)),
        "headline_classes": None,
        "units": [{"name": f"block_{n:02d}", "confusion": counts.tolist()} for n, counts in enumerate(counts_UKK)],
        "train_labels": 358,
        "validation_labels": 154,
        "classes_trained": 16,
        "audit": {"own_spectrum_share": 0.0, "overlapping_footprint_share": 0.1, "leaks": False},
    }


if __name__ == "__main__":  # one size a process, so that memory is that size's own
    print(json.dumps(drive(Path(sys.argv[1]), Path(sys.argv[2]))))
