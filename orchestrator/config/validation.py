"""Values of a grid, checked before anything starts. Every error names the value, what is allowed, what to do."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from orchestrator.config.schema import ExecutionConfig, GridConfig, SearchConfig, TrainConfig
from orchestrator.errors import ConfigError, unknown

METRIC_NAMES = ("miou", "oa", "aa", "kappa", "mean_f1")
SELECTIONS = ("auto", "validation_matched", "validation_full", "held_out_shots", "leave_one_scene_out", "none")
SPLITS = ("default", "block", "random")
NORMALISATIONS = ("none", "per_band_zscore", "per_band_minmax", "scale")
TRAIN_CHOICES = {
    "loss": ("cross_entropy", "class_balanced"),
    "loss_average": ("labelled", "all"),
    "augmentation": ("none", "flips", "rare_mirror"),
    "schedule": ("cosine", "constant"),
    "normalisation": NORMALISATIONS,
    "normalisation_scope": ("train", "scene"),
    "precision": ("fp32", "bf16", "fp16"),
    "checkpoint": ("best", "last"),
}
SEARCH_CHOICES = {
    "sampler": ("tpe", "random"),
    "stopping": ("rungs", "none"),
    "metric": METRIC_NAMES,
    "selection": SELECTIONS,
}
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def validate(grid: GridConfig) -> None:
    """Check every value of `grid` that needs no knowledge of strategies or data sets.

    Raises:
        ConfigError: a value that is out of range or unknown.
    """
    if not SAFE_NAME.fullmatch(grid.name):
        raise ConfigError(
            f"name {grid.name!r} cannot be a folder; allowed: letters, digits, '.', '_' and '-', "
            "starting with a letter or digit; set name to such a word"
        )
    _at_least("seeds", grid.seeds, 1)
    _choice("split", grid.split, SPLITS)
    validate_train(grid.train, "train")
    _validate_search(grid.search)
    _validate_execution(grid.execution)
    _validate_axes("", grid.strategies, grid.datasets, grid.label_budgets, may_be_empty=bool(grid.blocks))
    for index, block in enumerate(grid.blocks):
        _validate_axes(f"blocks[{index}].", block.strategies, block.datasets, block.label_budgets, may_be_empty=False)
        if block.split:
            _choice(f"blocks[{index}].split", block.split, SPLITS)


def validate_train(train: TrainConfig, where: str) -> None:
    """Check the training settings; `where` is the prefix of the keys in messages, such as "train".

    Raises:
        ConfigError: a value that is out of range or unknown.
    """
    for name in ("steps", "batch_size", "pixel_batch_size", "evaluations", "world_size"):
        _at_least(f"{where}.{name}", getattr(train, name), 1)
    for name in ("patch_size", "epochs", "early_stopping"):
        _at_least(f"{where}.{name}", getattr(train, name), 0)
    _at_least(f"{where}.weight_decay", train.weight_decay, 0)
    _at_least(f"{where}.gradient_clip_norm", train.gradient_clip_norm, 0)
    if not 0 <= train.warmup_fraction < 1:
        raise _out_of_range(f"{where}.warmup_fraction", train.warmup_fraction, "a share of the steps in [0, 1)")
    if train.evaluations > train.steps and not train.epochs:
        allowed = f"at most {where}.steps = {train.steps}"
        raise _out_of_range(f"{where}.evaluations", train.evaluations, allowed)
    for name, choices in TRAIN_CHOICES.items():
        _choice(f"{where}.{name}", getattr(train, name), choices)
    for name in ("batch_size", "pixel_batch_size"):
        if getattr(train, name) % train.world_size:
            allowed = f"a multiple of {where}.world_size = {train.world_size}, so that every worker gets the same share"
            raise _out_of_range(f"{where}.{name}", getattr(train, name), allowed)


def _validate_search(search: SearchConfig) -> None:
    _at_least("search.trials", search.trials, 1)
    _at_least("search.round", search.round, 1)
    _at_least("search.reduction", search.reduction, 2)
    for name, choices in SEARCH_CHOICES.items():
        _choice(f"search.{name}", getattr(search, name), choices)
    rungs = list(search.rungs)
    ascending = all(low < high for low, high in zip(rungs, rungs[1:], strict=False))
    if not ascending or not all(0 < rung < 1 for rung in rungs):
        raise _out_of_range("search.rungs", rungs, "ascending shares of train.steps in (0, 1), for example [0.25, 0.5]")


def _validate_execution(execution: ExecutionConfig) -> None:
    for name in (
        "groups",
        "prefetch",
        "same_error_limit",
        "run_time_limit_s",
        "recycle_after_runs",
        "memory_limit_gib",
        "restarts",
        "max_lost_nodes",
    ):
        _at_least(f"execution.{name}", getattr(execution, name), 0)
    for name in ("cpus_per_worker", "max_attempts"):
        _at_least(f"execution.{name}", getattr(execution, name), 1)
    gpus = execution.gpus_per_worker
    if gpus != -1:
        _at_least("execution.gpus_per_worker", gpus, 0, also=" or -1 (one where there are any)")
    if gpus > 1 and gpus % 1:
        raise _out_of_range("execution.gpus_per_worker", gpus, "a share below 1, a whole number, or -1")
    _choice("execution.features_on", execution.features_on, ("cpu", "gpu"))
    if not execution.stall_timeout_s > 0:
        raise _out_of_range("execution.stall_timeout_s", execution.stall_timeout_s, "a number of seconds above 0")
    _choice("execution.isolation", execution.isolation, ("group", "run"))


def _validate_axes(
    where: str, strategies: Sequence[Any], datasets: Sequence[str], label_budgets: Sequence[Any], *, may_be_empty: bool
) -> None:
    axes = {"strategies": strategies, "datasets": datasets, "label_budgets": label_budgets}
    empty = [f"{where}{name}" for name, values in axes.items() if not values]
    if not empty or (may_be_empty and len(empty) == len(axes)):
        return
    raise ConfigError(
        f"{' and '.join(empty)} {'is' if len(empty) == 1 else 'are'} empty, so there is no cell; "
        "allowed: at least one entry each; list what to compare, for example "
        "strategies: [in_domain/svm_rbf], datasets: [indian_pines], label_budgets: [0.05]"
    )


def _at_least(key: str, value: float, lowest: int, *, also: str = "") -> None:
    if not (math.isfinite(value) and value >= lowest):
        raise _out_of_range(key, value, f"a number of at least {lowest}{also}")


def _choice(key: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        what = "metric" if key == "search.metric" else f"value of {key}"
        raise unknown(what, value, allowed, hint=f"Set {key} to one of them.")


def _out_of_range(key: str, value: Any, allowed: str) -> ConfigError:
    return ConfigError(f"{key} is {value!r}; allowed: {allowed}; change it in the grid or with {key}=VALUE")
