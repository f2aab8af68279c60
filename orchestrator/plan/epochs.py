"""Training length in passes over the training images, turned into optimiser steps. Pure."""

from __future__ import annotations

import math
from dataclasses import replace

from orchestrator.config import TrainConfig
from orchestrator.errors import ConfigError
from orchestrator.plan.cells import LabelBudget
from orchestrator.plan.facts import DatasetFacts
from strategies._base import Strategy


def steps_of_epochs(train: TrainConfig, facts: DatasetFacts, budget: LabelBudget, strategy: Strategy) -> TrainConfig:
    """The settings with `epochs` turned into `steps`, and no more evaluations than one an epoch.

    An epoch is every training image of the label budget once; for strategies that look at one pixel at a time, every
    pixel of these images once.

    Raises:
        ConfigError: epochs of a data set that is one scene.
    """
    if not train.epochs or strategy.kind == "estimator":
        return train
    if not facts.train_images:
        raise ConfigError(
            f"train.epochs is {train.epochs}, but {facts.name} has no training images to pass over; allowed: 0 for "
            "single scenes, where train.steps counts; set train.epochs=0 for its cells"
        )
    images = images_of_budget(facts, budget)
    if strategy.receptive_field_px == 1:
        height_px, width_px = facts.image_size_px
        batches = math.ceil(images * height_px * width_px / train.pixel_batch_size)
    else:
        batches = math.ceil(images / train.batch_size)
    evaluations = min(train.evaluations, train.epochs)
    return replace(train, epochs=0, steps=train.epochs * batches, evaluations=evaluations)


def images_of_budget(facts: DatasetFacts, budget: LabelBudget) -> int:
    """Training images that a label budget uses: only `whole_images` leaves some out."""
    if budget.sampler != "whole_images":
        return facts.train_images
    return max(1, round(budget.value * facts.train_images))
