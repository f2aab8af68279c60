"""What a cell costs: device seconds and disk. Estimates for planning, never part of a result."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.config import SearchConfig, TrainConfig
from orchestrator.plan.planned import PlannedCell
from orchestrator.plan.slots import rung_steps, survivors
from orchestrator.plan.states import Tally
from strategies._base import OwnPretraining, Strategy

MODEL_GIB = 0.02
"""Assumed size of a network's weights (5 million fp32 parameters): a strategy does not state it before it is built."""
CHECKPOINT_MODELS = 3
"""A checkpoint holds the weights and AdamW's two moments."""
CHECKPOINTS_A_RUN = 2


def rounds(trials: int, search: SearchConfig) -> tuple[int, ...]:
    """Number of trials of each round of a study."""
    full, rest = divmod(trials, search.round)
    return (search.round,) * full + ((rest,) if rest else ())


def segments(planned: PlannedCell, search: SearchConfig, trials: int) -> tuple[tuple[int, int], ...]:
    """One round of `trials` trials, rung by rung: (trials still in, optimiser steps that each of them does)."""
    found = []
    steps = rung_steps(planned, search)
    for begin, end in zip((0, *steps), steps, strict=False):
        found.append((trials, end - begin))
        trials = survivors(trials, search.reduction)
    return tuple(found)


def study_steps(planned: PlannedCell, search: SearchConfig) -> int:
    """Optimiser steps of all trials of one study, early stopping included."""
    return sum(
        count * steps for size in rounds(planned.trials, search) for count, steps in segments(planned, search, size)
    )


def step_seconds(planned: PlannedCell, reference_step_s: float, measured_s: Mapping[str, float]) -> tuple[float, bool]:
    """Device seconds of one optimiser step (of one fit for an estimator), and whether they were measured.

    Args:
        planned: the cell.
        reference_step_s: the strategy's own value.
        measured_s: wall-clock seconds of a step by cell id, or by strategy name where the cell itself never ran.
    """
    workers = int(planned.train["world_size"])
    for name in (planned.cell_id, planned.cell.strategy.name):
        if name is not None and name in measured_s:
            return measured_s[name] * workers, True
    return reference_step_s * workers * _relative_batch(planned), False


def pretraining_name(strategy: str) -> str:
    """What the measured seconds of a step of a strategy's own pretraining go by."""
    return f"pretrain {strategy}"


def pretraining_step_seconds(strategy: Strategy, own: OwnPretraining) -> float:
    """Device seconds of one step of a strategy's own pretraining, by its reference value.

    References are stated for the default batch, whatever batch the grid's trainings have.
    """
    reference_s = strategy.reference_pretraining_step_s or strategy.reference_step_s
    return reference_s * own.batch_size / TrainConfig().pixel_batch_size


def _relative_batch(planned: PlannedCell) -> float:
    """Pixels of a batch against the default batch, for which a strategy states its reference time."""
    if planned.kind == "estimator":
        return 1.0
    default = TrainConfig()
    batch = int(planned.train["batch_size"])
    if "patch_size" not in planned.train:
        return batch / default.pixel_batch_size
    height_px, width_px = planned.facts.image_size_px
    side_px = min(int(planned.train["patch_size"]), height_px, width_px)
    pixels = side_px**2 if side_px else height_px * width_px  # 0 = whole images
    return batch * pixels / (default.batch_size * default.patch_size**2)


def device_seconds(planned: PlannedCell, search: SearchConfig, step_s: float, counted: Tally) -> tuple[float, float]:
    """Device seconds of all runs of a cell, and of those that are still to do.

    Args:
        planned: the cell.
        search: the search settings.
        step_s: device seconds of one step.
        counted: its slots, counted.
    """
    search_s = study_steps(planned, search) * len(planned.folds_used) * step_s
    final_s = int(planned.train["steps"]) * planned.seeds * step_s
    slots = planned.trials * len(planned.folds_used)
    search_left = search_s * (1 - counted.search_closed / slots) if slots else 0.0
    final_left = final_s * (1 - counted.finals_closed / planned.seeds)
    return search_s + final_s, search_left + final_left


def disk_gib(planned: PlannedCell, runs: int) -> float:
    """Upper bound of the space of the checkpoints of a cell's `runs` runs and of one exported model a seed."""
    if planned.kind == "estimator":
        return MODEL_GIB * planned.seeds
    return MODEL_GIB * (runs * CHECKPOINTS_A_RUN * CHECKPOINT_MODELS + planned.seeds)
