"""Where original files and prepared stores lie."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs


@dataclass(frozen=True)
class DataLocations:
    """Two folders: one that the user names and that is only read, and one that the tool writes."""

    data_root: Path | None
    """Holds original files; None where the user named none."""
    cache: Path
    """Holds fetched originals (`data`) and prepared stores (`prepared`)."""

    @classmethod
    def from_environment(cls, data_root: str | Path | None = None) -> DataLocations:
        """Locations from HSFM_DATA_ROOT and HSFM_CACHE; `data_root` goes before the environment."""
        root = str(data_root or os.environ.get("HSFM_DATA_ROOT", ""))
        cache = os.environ.get("HSFM_CACHE") or platformdirs.user_cache_dir("hsfm-sweep")
        return cls(
            data_root=Path(root).expanduser().absolute() if root else None, cache=Path(cache).expanduser().absolute()
        )

    @property
    def prepared(self) -> Path:
        return self.cache / "prepared"

    @property
    def fetched(self) -> Path:
        return self.cache / "data"
