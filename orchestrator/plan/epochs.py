"""Training length in passes over the training images, turned into optimiser steps. Pure."""

from __future__ import annotations

import math
from dataclasses import replace

from orchestrator.config import TrainConfig
from orchestrator.plan.cells import LabelBudget
from orchestrator.plan.facts import DatasetFacts
from strategies._base import Strategy


def steps_of_epochs(train: TrainConfig, facts: DatasetFacts, budget: LabelBudget, strategy: Strategy) -> TrainConfig:
    """The settings with `epochs` turned into `steps`, and no more evaluations than one an epoch.

    An epoch is every training image of the label budget once; for strategies that look at one pixel at a time, every
    pixel of these images once. Unchanged where there is nothing to pass over; see `epochs_problem`.
    """
    if not train.epochs or strategy.kind == "estimator" or epochs_problem(train, facts, strategy):
        return train
    images = images_of_budget(facts, budget)
    if strategy.receptive_field_px == 1:
        height_px, width_px = facts.image_size_px
        batches = math.ceil(images * height_px * width_px / train.pixel_batch_size)
    else:
        batches = math.ceil(images / train.batch_size)
    evaluations = min(train.evaluations, train.epochs)
    return replace(train, epochs=0, steps=train.epochs * batches, evaluations=evaluations)


def epochs_problem(train: TrainConfig, facts: DatasetFacts, strategy: Strategy) -> str:
    """Why a cell cannot be trained in epochs; empty where it can, or is not asked to."""
    if not train.epochs or strategy.kind == "estimator" or training_images(facts):
        return ""
    return (
        f"train.epochs is {train.epochs}, but {facts.name} has no training images to pass over; allowed: 0 for "
        "single scenes, where train.steps counts; set train.epochs=0 for its cells"
    )


def training_images(facts: DatasetFacts) -> int:
    """Images of the training side; of an average fold where folds deal them: one part tests, one validates."""
    if facts.train_images or facts.task == "scene":
        return facts.train_images
    return max(1, round(facts.num_images * (facts.folds - 2) / facts.folds)) if facts.folds > 2 else 0


def images_of_budget(facts: DatasetFacts, budget: LabelBudget) -> int:
    """Training images that a label budget uses: only `whole_images` leaves some out."""
    images = training_images(facts)
    return images if budget.sampler != "whole_images" else share_of_images(budget.value, images)


def share_of_images(fraction: float, images: int) -> int:
    """How many of the images a fraction means: rounded as HS3-Bench's code rounds, at least one."""
    return max(1, round(fraction * images))
