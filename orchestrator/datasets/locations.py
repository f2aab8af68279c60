"""Where original files and prepared stores lie, and what the user has agreed to."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import platformdirs


@dataclass(frozen=True)
class DataLocations:
    """Two folders: one that the user names and that is only read, and one that the tool writes; and consents."""

    data_root: Path | None
    """Holds original files; None where the user named none."""
    cache: Path
    """Holds fetched originals (`data`), prepared stores (`prepared`) and checkpoints (`weights`)."""
    accepted_licences: frozenset[str] = frozenset()
    """Names of licences of weights that the user has accepted; part of no key."""

    @classmethod
    def from_environment(
        cls, data_root: str | Path | None = None, accepted_licences: Iterable[str] = ()
    ) -> DataLocations:
        """Locations from HSFM_DATA_ROOT and HSFM_CACHE; `data_root` goes before the environment."""
        root = str(data_root or os.environ.get("HSFM_DATA_ROOT", ""))
        cache = os.environ.get("HSFM_CACHE") or platformdirs.user_cache_dir("hsfm-sweep")
        return cls(
            data_root=Path(root).expanduser().absolute() if root else None,
            cache=Path(cache).expanduser().absolute(),
            accepted_licences=frozenset(accepted_licences),
        )

    @property
    def prepared(self) -> Path:
        return self.cache / "prepared"

    @property
    def fetched(self) -> Path:
        return self.cache / "data"
