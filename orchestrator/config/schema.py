"""The grid file's schema: what a user may write, with the default of every setting.

A grid is YAML, read with OmegaConf into these structured configs, so that a misspelt key or a wrong type is
an error before anything starts. Names of strategies and data sets are checked later, by `plan`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class TrainConfig:
    """How every network of the grid is trained. All of it changes numbers, so all of it is in a run's key."""

    steps: int = 400
    """Optimiser steps of one training, the same at every label budget."""
    epochs: int = 0
    """Passes over the labelled training images instead of `steps` (image sets only); 0 = use steps."""
    batch_size: int = 8
    """Patches a step, over all workers, for strategies that look at a neighbourhood."""
    pixel_batch_size: int = 128
    """Labelled pixels a step, over all workers, for strategies that look at one pixel at a time."""
    patch_size: int = 64
    """Side of a training patch, in pixels (cut to the image where the image is smaller); 0 = whole images."""
    evaluations: int = 4
    """Evenly spaced evaluations on validation labels, the last one after the last step; checkpoints fall here."""
    early_stopping: int = 0
    """Evaluations in a row without a better validation score after which training ends; 0 = never."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay."""
    warmup_fraction: float = 0.05
    """Share of the steps with a linearly rising learning rate."""
    schedule: str = "cosine"
    """Learning rate after the warm-up: cosine (to zero) or constant."""
    gradient_clip_norm: float = 1.0
    """Largest gradient norm; 0 switches clipping off."""
    loss: str = "cross_entropy"
    """Training loss: cross_entropy or class_balanced."""
    loss_average: str = "labelled"
    """The loss is a mean over labelled pixels (of all workers), or over all pixels, unlabelled ones counted as 0."""
    augmentation: str = "none"
    """none, flips (random flips and quarter turns) or rare_mirror (left-right with a probability of 0.1)."""
    normalisation: str = "per_band_zscore"
    """none, per_band_zscore, per_band_minmax or scale (divides by the data set's stated scale)."""
    normalisation_scope: str = "train"
    """Where statistics come from: train (all pixels of the training side) or scene (compatibility, flagged)."""
    precision: str = "fp32"
    """fp32, or autocast to bf16 or fp16 (with scaled gradients)."""
    checkpoint: str = "best"
    """Which weights are scored on test: best (on validation labels, where there are any) or last."""
    feature_cache: bool = True
    """Compute the features of a frozen backbone once, keep them in half precision and share them between runs, where
    that changes nothing else (single pixels, or whole images without augmentation)."""
    undefined_output: bool = False
    """Give networks one more output, for pixels of no class, that no label ever trains (as HS3-Bench's code has it)."""
    world_size: int = 1
    """DDP workers of one training, in each block its own; scikit-learn strategies always use one."""


@dataclass
class SearchConfig:
    """How hyperparameters are chosen: the same budget for every strategy."""

    trials: int = 8
    """Trials a strategy, stopped ones included; trial 0 is the strategy's defaults."""
    round: int = 4
    """Trials drawn together; round n sees only finished rounds. Independent of the cluster's size."""
    sampler: str = "tpe"
    """tpe or random."""
    stopping: str = "rungs"
    """rungs (synchronous successive halving) or none."""
    rungs: list[float] = field(default_factory=lambda: [0.5])
    """Shares of `train.steps` at which the worse part of a round is stopped."""
    reduction: int = 2
    """One in so many trials of a round survives a rung."""
    metric: str = "miou"
    """Validation score that decides: miou, oa, aa, kappa or mean_f1."""
    selection: str = "auto"
    """Where validation labels come from: auto, validation_matched, validation_full, held_out_shots, none, or
    leave_one_scene_out (those of the grid's other scenes; draws are random then, and no trial is stopped early)."""


@dataclass
class ExecutionConfig:
    """Where and how runs execute. None of it changes numbers, none of it is in a key."""

    groups: int = 0
    """Worker groups at once, of all sizes together; 0 = as many as the cluster's CPUs or GPUs hold."""
    cpus_per_worker: int = 1
    """CPUs, and so threads, of each DDP worker."""
    gpus_per_worker: float = -1
    """GPUs of each DDP worker that trains a network; -1 = one where the cluster has any, else none. A share (0.5) is
    for groups of one worker. scikit-learn strategies hold none."""
    features_on: str = "cpu"
    """Where features of frozen backbones are extracted on a cluster with GPUs: cpu (such a group holds none) or gpu."""
    prefetch: int = 1
    """Trial drivers started ahead of a free group, for each size of worker groups."""
    max_attempts: int = 3
    """Attempts at a run that was lost with its worker or group, before it counts as failed."""
    max_lost_nodes: int = 20
    """Machines (taken back, cut off, broken) that a run may lose between two rungs; they use up no attempt."""
    same_error_limit: int = 3
    """Cells in a row that fail with the same error before the sweep stops; 0 = never."""
    stall_timeout_s: float = 600
    """Seconds without progress after which a run's worker group is killed and the run tried again; if nothing moves
    at all, the watchdog gives its diagnosis and ends the sweep."""
    run_time_limit_s: float = 0
    """Wall-clock limit of one run, all its segments together; 0 = none."""
    memory_limit_gib: float = 0
    """Memory that a worker may take beyond its own start; a run that needs more is out of memory. 0 = no limit."""
    restarts: int = 3
    """Times in a row that the command starts Ray anew, without progress in between, when Ray on this machine died."""
    recycle_after_runs: int = 0
    """A worker group is restarted after so many runs; 0 = never."""
    isolation: str = "group"
    """group (resident worker groups) or run (a fresh group for every run)."""
    fail_fast: bool = False
    """Stop the sweep at the first run that fails for good."""
    storage_path: str = ""
    """Where checkpoints go; empty = the sweep's folder. Clusters need a path that all nodes share."""


@dataclass
class BlockConfig:
    """A further set of cells: every strategy x every data set x every label budget of this block."""

    strategies: list[Any] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)
    label_budgets: list[Any] = field(default_factory=list)
    optional: bool = False
    """Cells that may be blocked or fail without making the sweep's exit status 1."""
    train: dict[str, Any] = field(default_factory=dict)
    """Settings of `train` that differ for this block."""
    split: str = ""
    """Split of this block's cells, as the grid's `split`; empty = the grid's. Another split is another test set."""


@dataclass
class GridConfig:
    """A whole sweep: its cells, its search budget, its seeds and its settings."""

    protocol: str = ""
    """A packaged protocol, such as hs3-2026: settings that hold where the grid gives none of its own."""
    name: str = "sweep"
    """Name of the sweep: its folder and its MLflow experiment."""
    description: str = ""
    """What the grid shows, in a sentence."""
    strategies: list[Any] = field(default_factory=list)
    """Names, or mappings such as {name: in_domain/unet, regime: full} that fix fields."""
    datasets: list[str] = field(default_factory=list)
    """Names of packaged data sets, or paths of YAML files that describe a user's own."""
    label_budgets: list[Any] = field(default_factory=list)
    """Fractions in (0, 1], or mappings {k_shot: 5}, {fraction: 0.1, sampler: whole_images}."""
    blocks: list[BlockConfig] = field(default_factory=list)
    """Further cells beside strategies x datasets x label_budgets."""
    controls: bool = True
    """Give every pretrained strategy its two controls from random weights."""
    seeds: int = 3
    """Final runs a cell, with the winner's hyperparameters."""
    first_seed: int = 0
    """Seed of the first final run; the others follow."""
    split: str = "default"
    """default (the data set's own), block, random (compatibility, leaks, flagged)."""
    search: SearchConfig = field(default_factory=SearchConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)
