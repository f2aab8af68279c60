from __future__ import annotations

from typing import Any

from orchestrator.ledger.records import SlotRecord
from orchestrator.ledger.session import Ledger

SWEEP = "tuning"


def report_run(ledger: Ledger, number: int, *, end: bool = True, epochs: int = 5, stage: str = "search") -> str:
    """One run of cell c1, as the execution layer reports it."""
    key, slot = f"key{number}", f"{stage}/f0/{number}" if stage == "search" else f"final/{number}"
    ledger.put_slot("c1", SlotRecord(slot=slot, key=key, params={"lr": 0.1 * number}))
    tags = {"hsfm.stage": stage, "hsfm.strategy": "in_domain/unet"}
    ledger.start_run(key, "c1", f"{stage} {number}", 1, [slot], tags, {"lr": 0.1 * number, "train": {"steps": 100}})
    for epoch in range(epochs):
        ledger.log_metrics(key, epoch, {"val/miou": number + epoch / 10, "train/loss": 1.0 / (epoch + 1)})
    if end:
        ledger.log_json(key, "evaluation.json", {"units": [{"name": "t", "confusion": [[number]]}]})
        ledger.end_run(key, "finished")
        ledger.put_slot("c1", SlotRecord(slot=slot, key=key, state="finished", scores={"val/miou": number + 0.4}))
    return key


def runs_by_key(ledger: Ledger) -> dict[str, list[Any]]:
    """All MLflow runs of the experiment, by hsfm.key, as MLflow's own client sees them."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=ledger.tracking_uri)
    found: dict[str, list[Any]] = {}
    for run in client.search_runs([ledger.experiment_id], max_results=1000):
        found.setdefault(run.data.tags["hsfm.key"], []).append(run)
    return found


def history(ledger: Ledger, run_id: str, metric: str) -> list[tuple[int, float]]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=ledger.tracking_uri)
    return sorted((point.step, point.value) for point in client.get_metric_history(run_id, metric))
