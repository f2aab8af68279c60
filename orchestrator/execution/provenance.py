"""Where a run was made: code, versions, host. Tags only, never part of a key."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
from pathlib import Path

import orchestrator

PACKAGES = ("torch", "ray", "mlflow-skinny", "optuna", "numpy", "scikit-learn", "timm")


def _git(*arguments: str) -> str | None:
    folder = Path(orchestrator.__file__).resolve().parent.parent
    if not (folder / ".git").exists():  # installed as a package: the version says it
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def provenance_tags() -> dict[str, str]:
    """Git commit and dirty flag, versions of what computes, host and Python."""
    versions = {"hsfm-sweep": orchestrator.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain")
    tags = {"hsfm.versions": json.dumps(versions, sort_keys=True), "hsfm.host": platform.node()}
    if commit:
        tags |= {"hsfm.git_commit": commit, "hsfm.git_dirty": str(bool(changes)).lower()}
    return tags
