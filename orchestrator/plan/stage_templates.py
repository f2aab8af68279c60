"""What a shared stage is for one cell: its run specification for fold and seed 0, and whether it can be. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.plan.cells import LabelBudget, StrategyChoice
from orchestrator.plan.facts import DatasetFacts, DatasetStatus
from orchestrator.plan.run_spec import RunSpec, content_hash
from orchestrator.plan.versions import IMPLEMENTATION, STAGES
from strategies._base import Bands, OwnPretraining, Pretraining, Strategy, StrategyError

ALL_LABELS = LabelBudget(kind="fraction", value=1.0, sampler="stratified_pixels")
WHOLE_IMAGE_LIMIT_PX = 1024
"""Larger images are predicted in tiles, whose features depend on where they were cut."""
IMAGES_A_SHARD = 64
BYTES_A_VALUE = 2
GIB = 2**30

_TRAIN_OF_PRETRAINING = (
    "normalisation", "normalisation_scope", "precision", "gradient_clip_norm", "schedule", "world_size", "evaluations",
)  # fmt: skip


# ---- a strategy's own pretraining


def own_pretraining(strategy: Strategy) -> OwnPretraining | None:
    """What this strategy pretrains itself; None where it starts from random or published weights."""
    return strategy.own_pretraining() if strategy.has_own_pretraining and strategy.init == "pretrained" else None


def pretraining_facts(own: OwnPretraining, sources: Sequence[DatasetFacts], target: DatasetFacts) -> Pretraining:
    """What `transfer` and `leakage` are derived from, for a pretraining of the sweep's own."""
    facts = [*sources, *([target] if own.pool != "source" else [])]
    other = [one.domain for one in facts if one.domain != target.domain]
    return Pretraining(
        weights="",
        modality="hsi",
        domain=other[0] if other else target.domain,
        datasets=tuple(one.name for one in facts),
        sensors=tuple(one.sensor for one in facts),
        supervised=own.is_supervised,
    )


def pretraining_problem(
    own: OwnPretraining, statuses: Sequence[DatasetStatus], *, unlabelled_windows: int, world_size: int
) -> tuple[str, str]:
    """Why a source cannot be learned from, and what mends it; two empty texts where it can."""
    for one in statuses:
        if one.digest is None and not one.files_present:
            return one.reason or f"the files of the source {one.facts.name} are not there", one.remedy
        if own.is_supervised and one.facts.labels == "none":
            return f"source {one.facts.name} has no labels, and this pretraining uses labels", ""
    for what, count in (("pretraining", own.batch_size), ("fine-tuning, unlabelled", unlabelled_windows)):
        if count % world_size:
            reason = f"a batch of {count} windows ({what}) cannot be shared by train.world_size = {world_size} workers"
            return reason, "set a multiple of train.world_size"
    return "", ""


def transfer_problem(strategy: Strategy, sources: Sequence[DatasetFacts], target: DatasetFacts) -> str:
    """Why what is pretrained on the sources cannot go on with the target; empty where it can."""
    bands = [Bands(one.num_bands, one.wavelengths_nm, one.num_classes) for one in (*sources, target)]
    try:
        strategy.check_transfer(bands[:-1], bands[-1])
    except StrategyError as error:
        return f"{target.name}: {error}"
    return ""


def pretraining_template(
    choice: StrategyChoice,
    own: OwnPretraining,
    sources: Sequence[DatasetStatus],
    target: RunSpec,
    train: Mapping[str, Any],
    versions: Mapping[str, int],
) -> RunSpec | None:
    """The pretraining that a cell builds on, for fold and seed 0; None while a source is not prepared."""
    pool = [(one.facts.name, str(one.digest)) for one in sources]
    if any(one.digest is None for one in sources):
        return None
    if own.pool != "source":
        pool.append((target.dataset, target.dataset_digest))
    settings = {name: train[name] for name in _TRAIN_OF_PRETRAINING if name in train}
    return RunSpec(
        strategy=choice.name,
        fields={name: choice.fields[name] for name in own.fields},
        dataset="+".join(name for name, _ in pool),
        dataset_digest=content_hash([digest for _, digest in pool]) if len(pool) > 1 else pool[0][1],
        split=target.split if own.pool != "source" else "default",
        fold=0,
        label_budget=ALL_LABELS,
        selection="none",
        stage="pretrain",
        seed=0,
        subset_seed=0,
        train={
            **settings,
            "steps": own.steps,
            "batch_size": own.batch_size,
            "learning_rate": own.learning_rate,
            "weight_decay": own.weight_decay,
            "warmup_fraction": own.warmup_fraction,
            "datasets": pool,
            "target": target.dataset if own.pool != "source" else "",
            "labels": own.is_supervised,
            "augmentation": "none",
            "checkpoint": "last",
            "loss": "own",
        },
        metric="loss",
        implementation={**IMPLEMENTATION, **STAGES["pretrain"], **versions},
    )


# ---- features of a frozen backbone


def feature_template(
    strategy: Strategy, choice: StrategyChoice, facts: DatasetFacts, template: RunSpec, *, is_wanted: bool
) -> RunSpec | None:
    """The extraction whose features a cell's runs are trained on, for fold and seed 0; None where nothing is kept.

    Features of single pixels are the same in every patch. Those of a neighbourhood depend on where a patch was cut,
    so they are kept only where training and scoring see whole images, and nothing is augmented.
    """
    height_px, width_px = facts.image_size_px
    shapes = strategy.cached_features(height_px, width_px) if is_wanted else None
    if shapes is None:
        return None
    train = template.train
    is_large = max(height_px, width_px) > WHOLE_IMAGE_LIMIT_PX
    if strategy.is_pixelwise and strategy.receptive_field_px > 1 and is_large:
        return None  # larger images are scored in blended windows
    if not strategy.is_pixelwise:
        side_px = int(train.get("patch_size", 1))
        limit_px = min(strategy.inference_px or WHOLE_IMAGE_LIMIT_PX, WHOLE_IMAGE_LIMIT_PX)
        sees_all = side_px == 0 or side_px >= max(height_px, width_px)
        if not sees_all or max(height_px, width_px) > limit_px or train.get("augmentation") != "none":
            return None
    names = ("normalisation", "normalisation_scope", "precision", "world_size")
    return replace(
        template,
        fields={
            name: choice.fields[name] for name in dict.fromkeys((*strategy.feature_fields, "init")) if name != "regime"
        },
        label_budget=ALL_LABELS,
        selection="none",
        stage="features",
        train={
            **{name: train[name] for name in names if name in train},
            "steps": 1,
            "values": "float16",
            "pixels": _pixels_of(strategy),
        },
        metric="loss",
        implementation={**template.implementation, **STAGES["features"]},
    )


def _pixels_of(strategy: Strategy) -> str:
    """Which pixels' features are kept: labelled, all valid ones, or whole images as they are."""
    if not strategy.is_pixelwise:
        return "images"
    return "labelled" if strategy.receptive_field_px == 1 else "valid"


def shards_of(facts: DatasetFacts) -> int:
    """Parts that an extraction is dealt to the worker groups in: a function of the data set alone."""
    return -(-facts.num_images // IMAGES_A_SHARD) if facts.task == "images" else 1


def features_gib(strategy: Strategy, facts: DatasetFacts) -> float:
    """Size of the features of one fold (and of one seed, where the weights are random), an upper bound."""
    shapes = strategy.cached_features(*facts.image_size_px) or ()
    values = sum(channels * height * width for channels, height, width in shapes)
    return values * facts.num_images * BYTES_A_VALUE / GIB
