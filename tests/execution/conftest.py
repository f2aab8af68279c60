"""Real data and real runs for the execution tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.config import TrainConfig
from orchestrator.datasets.locations import DataLocations
from orchestrator.datasets.prepare import prepare
from orchestrator.datasets.store import open_prepared
from orchestrator.execution.seat import Seat
from orchestrator.execution.training import NetworkRun
from orchestrator.plan.cells import LabelBudget
from orchestrator.plan.run_spec import RunSpec
from orchestrator.plan.slots import resolve_train
from strategies._base import field_values
from strategies.registry import get_strategy


@pytest.fixture(scope="session")
def indian_pines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared store of Indian Pines."""
    return prepare("indian_pines", DataLocations(data_root=None, cache=tmp_path_factory.mktemp("cache")))


@pytest.fixture
def make_spec(indian_pines: Path) -> Any:
    """Specs of runs on Indian Pines."""
    digest = open_prepared(indian_pines).digest

    def make(
        name: str,
        *,
        stage: str = "final",
        seed: int = 0,
        budget: Any = 0.1,
        fields: dict[str, Any] | None = None,
        **train: Any,
    ) -> RunSpec:
        strategy = get_strategy(name)(**(fields or {}))
        return RunSpec(
            strategy=name,
            fields=field_values(strategy),
            dataset="indian_pines",
            dataset_digest=digest,
            split="block",
            fold=0,
            label_budget=LabelBudget.parse(budget),
            selection="validation_matched",
            stage=stage,
            seed=seed,
            subset_seed=seed,
            train=resolve_train(strategy, TrainConfig(**train)),
            metric="miou",
        )

    return make


class Killed(Exception):
    """Stands for the moment of a kill -9: nothing after it runs."""


def run_network(
    spec: RunSpec,
    prepared: Path,
    storage: Path,
    *,
    attempt: int = 1,
    until: int | None = None,
    die_at: int | None = None,
    stop_at_tick: bool = False,
    micro_batches: int = 1,
    told: list[dict[str, Any]] | None = None,
) -> Any:
    """Train one segment in this process; with `die_at`, die right after the checkpoint of that step."""
    torch.set_num_threads(1)

    def tell(event: dict[str, Any]) -> str:
        if stop_at_tick and event["kind"] == "tick":
            return "told to stop"
        if die_at is not None and event.get("step", -1) >= die_at:
            raise Killed
        if told is not None:
            told.append(event)
        return ""

    job = {
        "prepared_path": str(prepared),
        "storage": str(storage),
        "attempt": attempt,
        "until_step": until or spec.train["steps"],
        "weights_path": None,
        "micro_batches": micro_batches,
    }
    strategy = get_strategy(spec.strategy)(**spec.fields)
    seat = Seat(rank=0, world_size=1, device=torch.device("cpu"), tell=tell, first=lambda ask: ask())
    return NetworkRun(spec, job, strategy, seat).run()
