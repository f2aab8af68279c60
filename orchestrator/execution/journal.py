"""Decisions and outcomes of a sweep, told to the ledger in its words: tags, params, metrics, artifacts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import fmean
from typing import Any

from orchestrator.execution.leave_one_scene_out import CHOICE_TAG
from orchestrator.execution.segments import Segment
from orchestrator.ledger.records import SlotRecord
from orchestrator.ledger.store import Ledger
from orchestrator.plan.planned import PlannedCell
from orchestrator.plan.run_spec import RunSpec

Housekeeping = Callable[[PlannedCell, Mapping[str, SlotRecord]], None]


class LedgerJournal:
    """The sweep's `Journal` on MLflow. Every call appends to the spool and returns."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        logs: Path,
        provenance: Mapping[str, str],
        on_run_closed: Callable[[SlotRecord], None],
        on_cell_closed: Housekeeping,
        tell: Callable[[str], object] = lambda _: None,
    ) -> None:
        """`tell` is given a line for the user's eyes whenever an attempt at a run fails."""
        self.ledger, self.logs, self.provenance = ledger, logs, dict(provenance)
        self._on_run_closed, self._on_cell_closed, self._tell = on_run_closed, on_cell_closed, tell
        logs.mkdir(parents=True, exist_ok=True)

    def together(self) -> AbstractContextManager[None]:
        return self.ledger.together()

    def open_cell(self, planned: PlannedCell) -> None:
        """Make sure that the cell's parent run exists."""
        self.ledger.ensure_cell(str(planned.cell_id), str(planned.cell), {**cell_tags(planned), **self.provenance})

    def put_slot(self, cell_id: str, record: SlotRecord) -> None:
        self.ledger.put_slot(cell_id, record)

    def chosen(self, planned: PlannedCell, choice: str, scenes: Sequence[str]) -> None:
        """The hyperparameters that other scenes have chosen for a cell; the newest record counts."""
        tags = {CHOICE_TAG: choice, "hsfm.chosen_on": ", ".join(scenes)}
        self.ledger.set_cell(str(planned.cell_id), tags=tags)

    def segment_started(self, planned: PlannedCell, segment: Segment, slots: Sequence[str]) -> None:
        if not segment.is_new_attempt:
            return
        spec = segment.spec
        tags = {**cell_tags(planned), **self.provenance, **run_tags(spec), "hsfm.log": str(self.log_path(spec.key))}
        params = {
            **{f"strategy.{k}": v for k, v in spec.fields.items()},
            **{f"train.{k}": v for k, v in spec.train.items()},
            **factors(planned, spec),
        }
        name = f"{segment.slot} · {planned.cell}"
        self.ledger.start_run(spec.key, segment.cell_id, name, segment.attempt, list(slots), tags, params)
        self.ledger.log_input(
            spec.key, spec.dataset, spec.dataset_digest, f"{spec.stage} {spec.label_budget} fold {spec.fold}"
        )
        self._log(spec.key, f"attempt {segment.attempt} of {name}: {dict(spec.fields)}")

    def progressed(self, segment: Segment, points: Sequence[Mapping[str, Any]]) -> None:
        for point in points:  # MLflow drops a point that it has: same step, time and value
            self.ledger.log_metrics(segment.spec.key, point["step"], point["scores"], point["time_ms"])
        newest = ", ".join(f"{name} {value:.4f}" for name, value in points[-1]["scores"].items())
        self._log(segment.spec.key, f"step {points[-1]['step']}: {newest}")

    def noted(self, planned: PlannedCell, segment: Segment, text: str) -> None:
        self._log(segment.spec.key, text)
        self._tell(f"{planned.cell} {segment.slot}: {text}")

    def attempt_failed(self, planned: PlannedCell, segment: Segment, *, cause: str, error: str, decided: str) -> None:
        then = {
            "retry": "another attempt goes on from the newest checkpoint",
            "split": "another attempt computes each batch in twice as many parts",
            "pause": "the sweep stops; the run goes on with the next start",
            "fail": "no further attempt",
        }[decided]
        text = f"attempt {segment.attempt} failed ({cause}): {error}; {then}"
        self._log(segment.spec.key, text)
        self._tell(f"{planned.cell} {segment.slot}: {text}")
        self.ledger.set_tags(segment.spec.key, {"hsfm.cause": cause, "hsfm.last_error": error})

    def run_closed(self, planned: PlannedCell, record: SlotRecord, event: Mapping[str, Any]) -> None:
        key = record.key
        facts = event.get("facts") or {}
        metrics = {k: v for k, v in record.scores.items() if k.startswith("test/")}
        metrics |= {"cost/device_s": record.seconds * self._world_size(planned), "cost/wall_s": record.seconds}
        for name, metric in (
            ("train_labels", "labels/train"),
            ("validation_labels", "labels/validation"),
            ("classes_trained", "labels/classes_trained"),
        ):
            if facts.get(name) is not None:
                metrics[metric] = float(facts[name])
        if evaluation := event.get("evaluation"):
            metrics |= class_metrics(evaluation)
            self.ledger.log_json(key, "evaluation.json", evaluation)
        if planned.kind == "estimator":
            metrics |= {k: v for k, v in record.scores.items() if k.startswith("val/")}
        self.ledger.log_metrics(key, record.reached_step, metrics, int(time.time() * 1000))
        if event.get("traceback"):
            self._log(key, event["traceback"])
        self._log(key, f"{record.state} {record.stop_reason or record.error}".strip())
        known = ("parameters_total", "parameters_trained", "bands_used", "device", "best_step")
        tags = {f"hsfm.{n}": str(facts[n]) for n in known if facts.get(n) is not None}
        for name, value in (("hsfm.stop_reason", record.stop_reason), ("hsfm.error", record.error)):
            if value:
                tags[name] = value
        if record.micro_batches > 1:
            tags["hsfm.micro_batches"] = str(record.micro_batches)
        if record.state != "running":  # a closed run never is; the type does not know
            self.ledger.end_run(key, record.state, tags)
        self._on_run_closed(record)

    def superseded(self, planned: PlannedCell, record: SlotRecord) -> None:  # noqa: ARG002
        self.ledger.set_tags(record.key, {"hsfm.state": "superseded"})

    def cell_closed(self, planned: PlannedCell, slots: Mapping[str, SlotRecord]) -> None:
        finals = [r for s, r in slots.items() if s.startswith(f"{planned.stage}/") and r.state == "finished"]
        names = sorted({n for r in finals for n in r.scores if n.startswith(("test/", "val/best_"))})
        metrics = {n: fmean(r.scores[n] for r in finals) for n in names if all(n in r.scores for r in finals)}
        wanted = planned.seeds
        state = "done" if len(finals) >= wanted else "failed"
        tags = {"hsfm.finals": f"{len(finals)} of {wanted}"}
        self.ledger.set_cell(str(planned.cell_id), state=state, metrics=metrics, tags=tags)
        self._on_cell_closed(planned, slots)

    def log_path(self, key: str) -> Path:
        return self.logs / f"{key}.log"

    def _log(self, key: str, text: str) -> None:
        with self.log_path(key).open("a", encoding="utf-8") as stream:
            stream.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    @staticmethod
    def _world_size(planned: PlannedCell) -> int:
        return int(planned.template.train.get("world_size", 1)) if planned.template else 1


def factors(planned: PlannedCell, spec: RunSpec) -> dict[str, Any]:
    """The grid's factors as params, for MLflow's parallel coordinates (which know no tags)."""
    return {
        "strategy": planned.cell.strategy.label,
        "dataset": spec.dataset,
        "label_budget": str(spec.label_budget),
        "stage": spec.stage,
        "seed": spec.seed,
        "fold": spec.fold,
        "split": spec.split,
        "selection": spec.selection,
    }


def cell_tags(planned: PlannedCell) -> dict[str, str]:
    """Every factor of the cell, repeated on each of its runs: MLflow's filters look at one run alone."""
    choice, template = planned.cell.strategy, planned.template
    assert template is not None
    return {
        "hsfm.cell": str(planned.cell_id),
        "hsfm.cell_name": str(planned.cell),
        "hsfm.strategy": choice.label,
        "hsfm.strategy_name": choice.name,
        "hsfm.family": choice.family,
        "hsfm.regime": str(choice.fields.get("regime", "")),
        "hsfm.init": str(choice.fields.get("init", "")),
        "hsfm.control_of": " | ".join(choice.control_of),
        "hsfm.transfer": planned.transfer,
        "hsfm.leakage": planned.leakage,
        "hsfm.dataset": planned.cell.dataset,
        "hsfm.label_budget": str(planned.cell.label_budget),
        "hsfm.split": template.split,
        "hsfm.selection": template.selection,
        "hsfm.normalisation_scope": str(template.train.get("normalisation_scope", "")),
        "hsfm.optional": str(planned.optional).lower(),
        "hsfm.labels": planned.facts.labels,
        "hsfm.licence": planned.facts.licence or "not stated",
    }


def run_tags(spec: RunSpec) -> dict[str, str]:
    """The factors that only a run has."""
    return {
        "hsfm.dataset_digest": spec.dataset_digest,
        "hsfm.key": spec.key,
        "hsfm.stage": spec.stage,
        "hsfm.seed": str(spec.seed),
        "hsfm.fold": str(spec.fold),
    }


def class_metrics(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """IoU per class on test, by name, for the UI."""
    import re

    import numpy as np

    from orchestrator import metrics

    whole = np.sum([np.asarray(u["confusion"]) for u in evaluation["units"]], axis=0)
    per_class = metrics.per_class(whole, tuple(evaluation["scored_classes"]))
    names = evaluation["class_names"]
    return {
        f"test_iou/{re.sub(r'[^A-Za-z0-9_. /-]', '_', names[c])}": v["iou"] for c, v in per_class.items() if "iou" in v
    }
