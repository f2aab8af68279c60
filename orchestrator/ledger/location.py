"""Where the ledger of a sweep lives, and what must be true of that place."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from orchestrator.errors import LedgerError

DATABASE_NAME = "mlflow.db"
ARTIFACTS_NAME = "artifacts"
SPOOL_NAME = "spool"
SERVER_SCHEMES = ("http", "https")
DATABASE_SCHEMES = ("postgresql", "mysql", "mssql")
# SQLite needs working byte-range locks and, in WAL mode, memory shared by all its users.
NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "afs", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "pvfs2"}
    | {"orangefs", "ocfs2", "gfs2", "panfs", "wekafs"}
    | {f"fuse.{name}" for name in ("sshfs", "glusterfs", "ceph", "s3fs", "gcsfuse", "rclone", "juicefs", "goofys")}
)


@dataclass(frozen=True, kw_only=True)
class StoreLocation:
    """A sweep's tracking store."""

    sweep_dir: Path
    tracking_uri: str
    """Always absolute."""
    database: Path | None = None
    """The SQLite file; None for a server."""
    artifacts: Path | None = None
    """Where the SQLite store's artifacts go; None where the server decides."""

    @property
    def spool_dir(self) -> Path:
        return self.sweep_dir / SPOOL_NAME


def resolve_location(sweep_dir: Path, tracking_uri: str | None = None) -> StoreLocation:
    """The store of a sweep: `tracking_uri`, else MLFLOW_TRACKING_URI, else SQLite in the sweep's folder.

    Raises:
        LedgerError: a `file:` store or a scheme that is not supported.
    """
    sweep_dir = Path(sweep_dir).expanduser().resolve()
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or ""
    if not uri:
        database = sweep_dir / DATABASE_NAME
        return _sqlite_location(sweep_dir, database)
    scheme = uri.split(":", 1)[0].lower() if ":" in uri else ""
    if scheme in SERVER_SCHEMES or scheme.split("+")[0] in DATABASE_SCHEMES:
        return StoreLocation(sweep_dir=sweep_dir, tracking_uri=uri.rstrip("/"))
    if scheme == "sqlite" and (path := re.sub(r"^sqlite:///", "", uri)) != uri and path not in ("", ":memory:"):
        return _sqlite_location(sweep_dir, Path(unquote(path)).expanduser().resolve())
    allowed = "http(s)://SERVER:PORT, postgresql://..., sqlite:////ABSOLUTE/FILE.db, or none at all"
    advice = "leave MLFLOW_TRACKING_URI unset for the default, an SQLite file in the sweep's folder"
    if scheme in ("file", ""):
        raise LedgerError(
            f"MLflow file stores are not supported (tracking URI {uri!r}); allowed: {allowed}. To go on, {advice}, or "
            "use a server; `mlflow migrate-filestore --help` shows how to move the runs of an old file store."
        )
    raise LedgerError(f"tracking URI {uri!r} is not supported; allowed: {allowed}. To go on, {advice}.")


def _sqlite_location(sweep_dir: Path, database: Path) -> StoreLocation:
    artifacts = database.parent / ARTIFACTS_NAME
    return StoreLocation(
        sweep_dir=sweep_dir, tracking_uri=f"sqlite:///{database}", database=database, artifacts=artifacts
    )


def check_usable(location: StoreLocation) -> None:
    """Create the folders and try to write in them.

    Raises:
        LedgerError: a folder cannot be written, or SQLite would lie on a network file system.
    """
    folders = {location.sweep_dir, location.spool_dir}
    if location.database is not None:
        folders.add(location.database.parent)
        refuse_network_file_system(location.database.parent)
    for folder in sorted(folders):
        probe = folder / f".write-test-{os.getpid()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise LedgerError(
                f"the ledger's folder {folder} cannot be written ({error.strerror or error}); "
                "make it writable or choose another output folder."
            ) from error


def refuse_network_file_system(folder: Path) -> None:
    """Raise a LedgerError where `folder` lies on a file system that several hosts share."""
    found = file_system_of(folder)
    if found in NETWORK_FILE_SYSTEMS:
        raise LedgerError(
            f"{folder} lies on a network file system ({found}), where SQLite loses data; allowed: a local disk. Choose "
            "a folder on a local disk, or start `mlflow server` and set MLFLOW_TRACKING_URI to its address."
        )


def file_system_of(folder: Path) -> str:
    """Type of the file system that holds `folder` (which need not exist yet), or "" where it cannot be told."""
    import psutil

    target = folder.resolve()
    best = ("", "")
    for mount in psutil.disk_partitions(all=True):
        point = mount.mountpoint.rstrip("/") or "/"
        inside = point == "/" or target == Path(point) or Path(point) in target.parents
        # ">=": of two mounts on one point the later hides the earlier.
        if inside and len(point) >= len(best[0]):
            best = (point, mount.fstype)
    return best[1].lower()
