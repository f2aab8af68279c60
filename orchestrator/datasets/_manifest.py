"""The manifest of a prepared folder, and the folder's name: all that `plan` reads of a data set."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator.datasets._base import Definition
from orchestrator.plan.run_spec import content_hash

MANIFEST = "manifest.json"
FORMAT_VERSION = 1
"""Layout of the prepared folder."""
PROTOCOL_VERSION = 1
"""Raised by hand when splits, label budgets or samplers choose other pixels than before; part of every digest."""


def prepared_folder(definition: Definition, prepared: Path) -> Path:
    """Where the data set's store lies: another definition, or a changed file of the user's, is another folder."""
    question = {
        "facts": {key: value for key, value in asdict(definition.facts).items() if key not in ("notes", "scene")},
        "blocks": asdict(definition.blocks) if definition.blocks else None,
        "folds": [asdict(fold) for fold in definition.folds] if definition.folds else None,
        "ignored_ids": definition.ignored_ids,
        "identity": definition.identity,
        "versions": [FORMAT_VERSION, PROTOCOL_VERSION],
    }
    safe_name = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in definition.facts.name)
    return prepared / f"{safe_name.lstrip('.') or 'dataset'}-{content_hash(question)}"


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest; None where there is none that this version can use."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    usable = isinstance(manifest, dict) and manifest.get("format_version") == FORMAT_VERSION
    return manifest if usable else None
