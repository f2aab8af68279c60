"""Write a trained model as a folder that needs no sweep: config, safetensors, a README and, where it works, ONNX."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orchestrator
from orchestrator.datasets._checks import sha256_of
from orchestrator.errors import ConfigError
from orchestrator.execution.model_files import CONFIG, EXAMPLE, TRAINING_SET, WEIGHTS
from orchestrator.prediction.models import FoundModel
from orchestrator.prediction.onnx_check import GRAPH, export_onnx
from orchestrator.prediction.readme import model_readme

SCHEMA = 1
RECORD, README = "export.json", "README.md"


def export_model(
    model: FoundModel, to: Path, *, onnx: bool = True, overwrite: bool = False, plugins: Sequence[Path] = ()
) -> dict[str, Any]:
    """Write the folder; plain data of what it holds, which is also its export.json.

    Args:
        model: from `find_model`.
        to: the folder; made where it is absent.
        onnx: also try to write model.onnx; a model that has none is no failure.
        overwrite: replace an export that is there.
        plugins: files with strategies that are not packaged.

    Raises:
        ConfigError: there is something in the folder, or it cannot be written.
        DataError: a file of the model is damaged.
    """
    folder = Path(to).expanduser().absolute()
    _check_place(folder, model, overwrite)
    saved = model.load()  # a model that cannot be loaded is not worth exporting
    with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as scratch:
        made = Path(scratch)
        files = [name for name in (CONFIG, WEIGHTS, TRAINING_SET, EXAMPLE) if (model.folder / name).is_file()]
        for name in files:
            shutil.copyfile(model.folder / name, made / name)
        graph = export_onnx(model, saved, made, plugins) if onnx else {"file": None, "reason": "not asked for"}
        files += [GRAPH] if graph["file"] else []
        (made / README).write_text(model_readme(model, files, graph), encoding="utf-8")
        files.append(README)
        record = {
            "schema": SCHEMA,
            "tool_version": orchestrator.__version__,
            "folder": str(folder),
            "model": {
                "key": model.key,
                "strategy": model.facts["strategy"],
                "dataset": model.facts["dataset"],
                "cell": model.cell,
                "source": model.source,
                "kind": model.facts["kind"],
            },
            "files": [{"name": name, "sha256": sha256_of(made / name)} for name in files],
            "onnx": graph,
        }
        (made / RECORD).write_text(json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8")
        for stale in (RECORD, README, CONFIG, WEIGHTS, TRAINING_SET, EXAMPLE, GRAPH):
            (folder / stale).unlink(missing_ok=True)
        for name in (*files, RECORD):
            os.replace(made / name, folder / name)
    return record


def _check_place(folder: Path, model: FoundModel, overwrite: bool) -> None:
    if folder == model.folder:
        raise ConfigError(f"{folder} holds the model itself; name another folder with --to")
    if not overwrite and folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty; allowed: --overwrite, or another folder with --to")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(f"folder {folder} cannot be written ({error.strerror}); choose another with --to") from error
