"""Find a trained model: in a sweep, in a folder, or behind an MLflow URI."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.api_plan import SweepView, view_sweep
from orchestrator.config import GridConfig, storage_of
from orchestrator.config.loading import load_grid
from orchestrator.datasets.locations import DataLocations
from orchestrator.errors import ConfigError, DataError
from orchestrator.prediction.choosing import Choice, cell_name, choose, finished_finals, mean_validation

if TYPE_CHECKING:
    from orchestrator.execution.saved_model import SavedModel

DEFAULT_ROOT = Path("hsfm_sweeps")
URI_SCHEMES = ("models:/", "runs:/")


@dataclass(frozen=True, kw_only=True)
class FoundModel:
    """A trained model as files, and what is known of where it comes from."""

    folder: Path
    """Holds config.json beside safetensors."""
    facts: dict[str, Any]
    """What config.json says."""
    source: str
    """Where it was found and why this one, in words."""
    cell: str | None = None
    """Name of its cell; None where it was not found through a sweep."""
    slot: str | None = None
    licence: str | None = None
    """Of the data it was trained on."""
    scores: dict[str, float] = field(default_factory=dict)
    """Scores of the run that made it: "val/...", "test/..."."""
    mean_test: dict[str, float] = field(default_factory=dict)
    """Mean test scores of all finished final runs of its cell."""
    finals: int = 0
    """Number of those runs."""
    mean_validation: float | None = None
    scratch: Any = field(default=None, repr=False, compare=False)
    """Keeps a downloaded copy for as long as this object lives."""

    @property
    def key(self) -> str:
        """Key of the run that made it."""
        return str(self.facts.get("key", "unknown"))

    def load(self) -> SavedModel:
        """The model, ready to predict."""
        from orchestrator.execution.saved_model import SavedModel

        return SavedModel(self.folder)


def find_model(
    model: str | Path,
    *,
    grid: str | GridConfig | None = None,
    overrides: Sequence[str] = (),
    data_root: Path | None = None,
    root: Path = DEFAULT_ROOT,
    tracking_uri: str | None = None,
    dataset: str | None = None,
) -> FoundModel:
    """Find a trained model; nothing of it is loaded yet.

    Args:
        model: "best" (the cell with the best mean validation score of its final runs), the id or name of a cell, the
            key of a final run, a folder with config.json, or an MLflow URI (models:/, runs:/).
        grid: the sweep: a packaged grid's name, a file's path or a loaded grid; not needed for folders and URIs.
        overrides: `key=value` settings of the grid.
        data_root: folder with data sets (default: HSFM_DATA_ROOT).
        root: folder of all sweeps.
        tracking_uri: MLflow store; None = MLFLOW_TRACKING_URI, else the store in the sweep's folder.
        dataset: of the best cell; needed where the sweep has several data sets.

    Raises:
        ConfigError: no such model, or nothing finished to choose from.
        DataError: its files are absent or damaged.
    """
    name = str(model)
    loaded = load_grid(grid, overrides) if isinstance(grid, str) else grid
    if name.startswith(URI_SCHEMES):
        return _from_uri(name, _tracking_uri(tracking_uri, loaded, root))
    if Path(name).expanduser().is_dir():
        return _from_folder(Path(name).expanduser().absolute())
    if isinstance(model, Path) or name.startswith((".", "~", os.sep)):
        raise ConfigError(f"model folder {name} not found; allowed: a folder with config.json, or a model of a sweep")
    if loaded is None:
        raise ConfigError(
            f"model {name!r} is no folder, and no grid was given to look it up in; allowed: best, a cell or a key "
            "together with --grid NAME, a folder that holds config.json, or a models:/ or runs:/ URI"
        )
    sweep_root = Path(root).expanduser().absolute()
    view = view_sweep(loaded, DataLocations.from_environment(data_root), sweep_root, tracking_uri)
    if not view.records:
        raise ConfigError(
            f"sweep {loaded.name!r} has no runs in {view.folder}; allowed: a sweep that was started; run "
            f"`hsfm-sweep --grid {grid if isinstance(grid, str) else loaded.name}` first, or name its folder with --out"
        )
    return _from_sweep(choose(name, view, dataset), view, tracking_uri)


def _from_sweep(choice: Choice, view: SweepView, tracking_uri: str | None) -> FoundModel:
    from orchestrator.execution.model_files import read_facts

    key, tags = choice.slot.key, choice.cell.tags
    folder, scratch = _files_of_run(key, view, tracking_uri)
    finals = finished_finals(choice.cell)
    names = [n for n in choice.slot.scores if n.startswith("test/") and all(n in f.scores for f in finals)]
    return FoundModel(
        folder=folder,
        facts=read_facts(folder),
        source=f"sweep {view.plan.name}, {cell_name(choice.cell)}, {choice.slot.slot}: {choice.why}",
        cell=cell_name(choice.cell),
        slot=choice.slot.slot,
        licence=tags.get("hsfm.licence"),
        scores=dict(choice.slot.scores),
        mean_test={n: sum(f.scores[n] for f in finals) / len(finals) for n in names},
        finals=len(finals),
        mean_validation=mean_validation(choice.cell),
        scratch=scratch,
    )


def _files_of_run(key: str, view: SweepView, tracking_uri: str | None) -> tuple[Path, Any]:
    """The run's model folder: where checkpoints lie, a copy of it from an object store, or the MLflow artifact."""
    from orchestrator.execution.checkpoints import run_folder
    from orchestrator.execution.model_files import CONFIG
    from orchestrator.execution.saved_model import FOLDER

    storage = storage_of(view.plan.grid, view.folder)
    place = f"{run_folder(storage, key)}/{FOLDER}"
    if "://" not in storage and (Path(place) / CONFIG).is_file():
        return Path(place), None
    scratch = tempfile.TemporaryDirectory(prefix="hsfm-model-")
    if "://" in storage:
        from pyarrow import fs

        system, base = fs.FileSystem.from_uri(place)
        if system.get_file_info(f"{base}/{CONFIG}").type == fs.FileType.File:
            fs.copy_files(base, scratch.name, source_filesystem=system)
            return Path(scratch.name), scratch
    uri = _logged_model(key, view, tracking_uri)
    if uri is None:
        raise DataError(
            f"the model of run {key} is neither in {place} nor among the run's MLflow artifacts; "
            "name the storage with execution.storage_path=..., or choose the cell's best final run"
        )
    return _download(uri, _tracking_uri(tracking_uri, view.plan.grid, view.folder.parent), scratch.name), scratch


def _logged_model(key: str, view: SweepView, tracking_uri: str | None) -> str | None:
    """URI of the MLflow model that was logged to the run; None where there is none."""
    from orchestrator.ledger.store import open_ledger

    ledger = open_ledger(view.folder, view.plan.name, tracking_uri=tracking_uri, mode="read")
    for run in ledger.search(f"tags.`hsfm.key` = '{key}' and tags.`hsfm.role` = 'run'"):
        if "model" in ledger.artifacts(run.info.run_id):
            return f"runs:/{run.info.run_id}/model"
    return None


def _tracking_uri(tracking_uri: str | None, grid: GridConfig | None, root: Path) -> str | None:
    from orchestrator.ledger.location import resolve_location

    if grid is None:
        return tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    return resolve_location(Path(root).expanduser().absolute() / grid.name, tracking_uri).tracking_uri


def _from_uri(uri: str, tracking_uri: str | None) -> FoundModel:
    from orchestrator.execution.model_files import read_facts

    if tracking_uri is None:
        raise ConfigError(
            f"model {uri} lies in an MLflow store, and none was named; allowed: --tracking-uri URI, "
            "MLFLOW_TRACKING_URI, or --grid NAME for the store of a sweep"
        )
    scratch = tempfile.TemporaryDirectory(prefix="hsfm-model-")
    folder = _download(uri, tracking_uri, scratch.name)
    return FoundModel(folder=folder, facts=read_facts(folder), source=f"MLflow, {uri}", scratch=scratch)


def _download(uri: str, tracking_uri: str | None, to: str) -> Path:
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        path = download_artifacts(uri, dst_path=to, tracking_uri=tracking_uri, registry_uri=tracking_uri)
    except (MlflowException, OSError) as error:
        raise ConfigError(f"model {uri} cannot be read from {tracking_uri}: {error}; correct the URI") from error
    return _inside(Path(path))


def _from_folder(folder: Path) -> FoundModel:
    from orchestrator.execution.model_files import read_facts

    inside = _inside(folder)
    return FoundModel(folder=inside, facts=read_facts(inside), source=f"folder {folder}")


def _inside(folder: Path) -> Path:
    """The folder with config.json: itself, or where an MLflow model keeps it."""
    found = [p for p in (folder, folder / "model", folder / "data" / "model") if (p / "config.json").is_file()]
    return found[0] if found else folder
