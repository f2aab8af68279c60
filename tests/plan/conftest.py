"""Facts of invented data sets and small grids for planning tests: planning reads nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.config import GridConfig
from orchestrator.plan.facts import DatasetFacts, DatasetStatus, WeightsStatus
from orchestrator.plan.make_plan import make_plan
from orchestrator.plan.planned import Plan

WEIGHTS = {
    "efficientnet_lite0_imagenet": WeightsStatus(name="efficientnet_lite0_imagenet", sha256="e" * 64, path="/w/e.pth"),
    "spectf_v010": WeightsStatus(name="spectf_v010", sha256="f" * 64, path="/w/s.pt"),
}


def make_facts(**changes: Any) -> DatasetFacts:
    values: dict[str, Any] = {
        "name": "meadow",
        "title": "invented",
        "num_bands": 20,
        "wavelengths_nm": tuple(400.0 + 50 * band for band in range(20)),
        "quantity": "surface_reflectance",
        "class_names": ("grass", "clover"),
        "class_ids": (1, 2),
        "domain": "remote",
        "sensor": "AVIRIS",
        "task": "scene",
        "image_size_px": (64, 64),
        "split": "block",
    }
    return DatasetFacts(**(values | changes))


def make_status(digest: str | None = "d" * 16, **changes: Any) -> DatasetStatus:
    return DatasetStatus(facts=make_facts(**changes), digest=digest, files_present=True)


def make_grid(**changes: Any) -> GridConfig:
    values: dict[str, Any] = {
        "name": "test",
        "strategies": ["in_domain/spectral_cnn"],
        "datasets": ["meadow"],
        "label_budgets": [0.1],
        "seeds": 2,
    }
    return GridConfig(**(values | changes))


@pytest.fixture
def facts() -> Callable[..., DatasetFacts]:
    return make_facts


@pytest.fixture
def status() -> Callable[..., DatasetStatus]:
    return make_status


@pytest.fixture
def grid() -> Callable[..., GridConfig]:
    return make_grid


@pytest.fixture
def plan_of() -> Callable[..., Plan]:
    """Plan a grid on one data set; keyword arguments go to `make_plan`."""

    def plan(grid: GridConfig, status: DatasetStatus | None = None, **options: Any) -> Plan:
        one = status or make_status()
        options.setdefault("weights_status", WEIGHTS)
        options.setdefault("records", {})
        return make_plan(grid, {one.facts.name: one}, **options)

    return plan
