"""What a final run says of every pixel of its data set, beside what is true: for maps and error analysis.

Images are predicted in the tiles in which the run was scored, so that counting its test pixels again gives the
confusion matrices that the run stored; whether it does is counted and told.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.api_results import DEFAULT_ROOT, SweepPlace, find_sweep
from orchestrator.config import GridConfig, own_storage
from orchestrator.datasets.locations import DataLocations
from orchestrator.errors import ConfigError, DataError, unknown
from orchestrator.ledger.records import RunRow
from orchestrator.plan.cells import LabelBudget
from orchestrator.prediction.pixels import ImagePrediction, Predictions, predict_image

if TYPE_CHECKING:
    from orchestrator.datasets.store import PreparedDataset
    from orchestrator.datasets.tasks import Task
    from orchestrator.plan.planned import Plan


def load_predictions(
    model: str,
    sweep: str | Path | GridConfig,
    overrides: Sequence[str] = (),
    *,
    images: Sequence[str] | None = None,
    dataset: str | None = None,
    data_root: Path | None = None,
    root: Path = DEFAULT_ROOT,
    tracking_uri: str | None = None,
) -> Predictions:
    """What a final run predicts for every pixel of the data set it was trained on.

    Args:
        model: key of a finished final run (column `key` of `load_results`); with a grid also "best" or a cell's name.
        sweep: a packaged grid's name, a grid's file, a loaded grid, or the sweep's own folder.
        overrides: `key=value` settings that the sweep was started with.
        images: names of the images to predict; None = all of them, which must fit into memory as label maps.
        dataset: with "best", the data set of the best cell; with a sweep's folder, the path of the user's YAML file
            where the data set is the user's own.
        data_root: folder with data sets (default: HSFM_DATA_ROOT).
        root: folder of all sweeps; not used where `sweep` is a folder.
        tracking_uri: MLflow server; None = MLFLOW_TRACKING_URI, else the store in the sweep's folder.

    Returns:
        `Predictions`: a sequence of one record an image with predicted labels, target, and the side of every pixel.

    Warns:
        UserWarning: test pixels are counted otherwise than when the run was scored (see `differing_pixels`); possible
            where it trained on a GPU or in half precision.

    Raises:
        ConfigError: no such sweep, run or image.
        DataError: the model's files are absent, the data set is, or it has changed since.
        LedgerError: the ledger cannot be read.
    """
    place = find_sweep(sweep, overrides, root=root, tracking_uri=tracking_uri)
    key, folder, scratch = _model_folder(model, place, overrides, data_root, dataset)
    run = _final_run(place, key)
    prepared, task = _task(place, run, DataLocations.from_environment(data_root), dataset)
    names = [image.name for image in prepared.images]
    for name in images or ():
        if name not in names:
            raise unknown(f"image of {prepared.facts.name}", name, names)
    from orchestrator.execution.saved_model import SavedModel

    saved = SavedModel(folder)
    class_names = tuple(prepared.facts.class_names)
    wanted = [index for index, name in enumerate(names) if images is None or name in images]
    records = tuple(predict_image(saved, prepared.images[index], task, index, class_names) for index in wanted)
    del scratch  # a downloaded copy of the model is no longer needed
    differing = _differing(run, task, dict(zip(wanted, records, strict=True)))
    if differing:
        warnings.warn(
            f"{differing} of {task.test_count} test pixels are counted otherwise than when run {key} was scored; the "
            "stored scores are those of the run itself",
            stacklevel=2,
        )
    return Predictions(
        key=key,
        cell_name=run.tags.get("hsfm.cell_name", ""),
        seed=int(run.tags["hsfm.seed"]),
        dataset=prepared.facts.name,
        class_names=class_names,
        images=records,
        differing_pixels=differing,
    )


def _model_folder(
    model: str, place: SweepPlace, overrides: Sequence[str], data_root: Path | None, dataset: str | None
) -> tuple[str, Path, Any]:
    """Key of the run, the folder of its model, and what keeps a downloaded copy alive."""
    from orchestrator.prediction.models import find_model

    if place.grid is not None:
        found = find_model(
            model,
            grid=place.grid,
            overrides=overrides,
            data_root=data_root,
            root=place.folder.parent,
            tracking_uri=place.tracking_uri,
            dataset=dataset,
        )
        return found.key, found.folder, found
    folder = Path(own_storage(place.folder)) / model / "model"
    if not folder.is_dir():
        raise ConfigError(
            f"run {model!r} has left no model in {folder}; allowed: the key of a finished final run whose checkpoints "
            "lie in the sweep's folder; else give the grid instead of the folder"
        )
    return model, folder, None


def _final_run(place: SweepPlace, key: str) -> RunRow:
    from orchestrator.ledger.queries import run_rows
    from orchestrator.ledger.store import open_ledger

    with open_ledger(place.folder, place.name, tracking_uri=place.tracking_uri, mode="read") as ledger:
        found = [row for row in run_rows(ledger, key=key) if row.stage == "final"]
    if not found:
        raise ConfigError(
            f"sweep {place.name!r} has no final run with key {key!r}; allowed: a key of load_results(...) where stage "
            "is final"
        )
    return found[0]


def _task(
    place: SweepPlace, run: RunRow, locations: DataLocations, dataset: str | None
) -> tuple[PreparedDataset, Task]:
    """The data set and the sides of the run, drawn again as they were for its training."""
    from orchestrator.datasets.prepare import prepare
    from orchestrator.datasets.store import open_prepared
    from orchestrator.datasets.tasks import draw_task, selection_of_run

    tags = run.tags
    source, budget = _planned(place.plan(locations.data_root), tags) or (
        tags["hsfm.dataset"],
        _budget(tags["hsfm.label_budget"]),
    )
    if place.grid is None and dataset:
        source = dataset
    prepared = open_prepared(prepare(source, locations))
    if prepared.digest != tags.get("hsfm.dataset_digest", prepared.digest):
        raise DataError(
            f"data set {source} has digest {prepared.digest}, but run {run.key} was trained on "
            f"{tags['hsfm.dataset_digest']}: files, splits or the reader have changed since; put the former files back"
        )
    task = draw_task(
        prepared,
        split=tags["hsfm.split"],
        fold=int(tags["hsfm.fold"]),
        label_budget=budget,
        selection=selection_of_run(tags["hsfm.selection"], "final"),
        subset_seed=int(tags["hsfm.seed"]),
    )
    return prepared, task


def _planned(plan: Plan | None, tags: Mapping[str, str]) -> tuple[str, LabelBudget] | None:
    """What the grid wrote for the run's data set, and its exact label budget; None where no grid says it."""
    for planned in plan.cells if plan else ():
        budget = planned.cell.label_budget
        if (planned.facts.name, str(budget)) == (tags["hsfm.dataset"], tags["hsfm.label_budget"]):
            return planned.dataset_source, budget
    return None


def _budget(text: str) -> LabelBudget:
    from orchestrator.analysis.results import parse_budget

    kind, value = parse_budget(text)
    words = text.split()
    more = {"sampler": words[1]} if len(words) > 1 else {}
    return LabelBudget.parse({kind: int(value or 0) if kind == "k_shot" else value, **more})


def _differing(run: RunRow, task: Task, records: Mapping[int, ImagePrediction]) -> int | None:
    """Test pixels of the predicted images that the run's stored confusion matrices count otherwise."""
    if run.evaluation is None:
        return None
    stored = {unit["name"]: np.asarray(unit["confusion"], dtype=np.int64) for unit in run.evaluation["units"]}
    differing = 0
    for index, record in records.items():
        is_test_HW = record.mask("test")
        for unit in np.unique(task.test_units[index][is_test_HW]):
            counted = record.count(is_test_HW & (task.test_units[index] == unit))
            before = stored.get(task.unit_names[unit], np.zeros_like(counted))
            # a pixel that moves from one entry to another is a difference of one in both
            differing += int(max((counted - before).clip(0).sum(), (before - counted).clip(0).sum()))
    return differing
