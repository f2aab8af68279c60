"""MLflow: whether the store opens or the server answers, their versions, and the clocks."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import socket
import sqlite3
import time
import urllib.error
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlparse

from orchestrator.ledger.lease import STALE_S
from orchestrator.ledger.location import SERVER_SCHEMES, StoreLocation
from orchestrator.ledger.reading import read_sqlite
from orchestrator.ledger.refusals import CREDENTIALS, INVALID_HOST, host_of
from orchestrator.upkeep.findings import Finding, Subject
from orchestrator.upkeep.tracking_server import A_READ, ANSWER_LIMIT_S, get

SKEW_S = 5.0
"""Difference of clocks from which it is told; leases are judged by the age of their heartbeats."""
_DRIVERS = {
    "postgresql": ("psycopg", "'hsfm-sweep[server]'"),  # what SQLAlchemy takes from 2.1 on
    "mysql": ("pymysql", "pymysql"),
    "mssql": ("pymssql", "pymssql"),
}


def mlflow(subject: Subject) -> Iterator[Finding]:
    """The tracking store, by what kind it is of."""
    location = subject.location()
    scheme = location.tracking_uri.split(":")[0].split("+")[0]
    if location.database is not None:
        yield from _database_file(location, location.database)
    elif scheme in SERVER_SCHEMES:
        yield from _server(location.tracking_uri)
    else:
        yield from _database_server(location.tracking_uri, scheme)


# ---- SQLite


def _database_file(location: StoreLocation, database: Path) -> Iterator[Finding]:
    if not database.exists():
        yield Finding("MLflow", "ok", f"{database} will be made by the first run")
        return
    try:
        revision, mode = read_sqlite(database, _revision)
    except sqlite3.Error as error:
        text = f"{database} cannot be read ({error}): it is no MLflow store, or damaged"
        mend = "put a copy of it back, or move it away to start the sweep anew"
        yield Finding("MLflow", "failure", text, mend)
        return
    known = schema_revisions()
    version = importlib.metadata.version("mlflow")
    if revision == known.head:
        yield Finding("MLflow", "ok", f"{database} opens; its schema is that of mlflow {version}")
    elif revision in known.older:
        text = f"{database} was made by an older MLflow (schema {revision}); mlflow {version} needs {known.head}"
        yield Finding("MLflow", "failure", text, f"keep a copy, then: mlflow db upgrade {location.tracking_uri}")
    else:
        text = f"{database} was made by a newer MLflow: its schema {revision} is not known to mlflow {version}"
        yield Finding(
            "MLflow", "failure", text, "pip install --upgrade mlflow, as hsfm-sweep allows, or go back to its version"
        )
    if mode != "wal":
        text = f"{database} is in mode {mode!r}: a reader such as the UI holds up the sweep for seconds"
        yield Finding("MLflow journal", "warning", text, "close what has it open; the next run switches to WAL")


def _revision(connection: sqlite3.Connection) -> tuple[str, str]:
    revision = connection.execute("select version_num from alembic_version").fetchone()
    return str(revision[0] if revision else "none"), _journal(connection)


def _journal(connection: sqlite3.Connection) -> str:
    """The mode from the file's header: a connection that takes the file for unchangeable does not say it."""
    path = connection.execute("pragma database_list").fetchone()[2]
    with open(path, "rb") as file:
        header = file.read(20)
    return "wal" if header[18:20] == b"\x02\x02" else "delete"


@dataclass(frozen=True)
class Revisions:
    """Schemas that the installed MLflow knows."""

    head: str
    older: frozenset[str]


def schema_revisions() -> Revisions:
    """Read from MLflow's migrations, without importing it (which takes seconds)."""
    spec = importlib.util.find_spec("mlflow")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    own, parents = set(), set()
    for folder in folders:
        for path in Path(folder, "store", "db_migrations", "versions").glob("*.py"):
            text = path.read_text(encoding="utf-8")
            if found := re.search(r"^revision(?:: str)? = ['\"](\w+)['\"]", text, re.MULTILINE):
                own.add(found[1])
            if found := re.search(r"^down_revision[^=]*= (.+)$", text, re.MULTILINE):
                parents.update(re.findall(r"['\"](\w+)['\"]", found[1]))
    heads = own - parents
    return Revisions(heads.pop() if len(heads) == 1 else "", frozenset(own))


# ---- servers


def _server(uri: str) -> Iterator[Finding]:
    try:
        version, clock = get(f"{uri}/version")
    except urllib.error.HTTPError as error:
        version, clock = "", error.headers.get("Date", "")
        if error.code == 403:
            yield _forbidden(uri, error)
            return
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        text = f"no MLflow server answers at {uri} within {ANSWER_LIMIT_S:g} s: {reason}"
        mend = f"mlflow server --host 127.0.0.1 --port {urlparse(uri).port or 5000}, or correct MLFLOW_TRACKING_URI"
        yield Finding("MLflow", "failure", text, mend)
        return
    try:
        get(f"{uri}{A_READ}")
    except urllib.error.HTTPError as error:
        yield _forbidden(uri, error)
        return
    yield _versions(uri, version)
    yield from _clocks(clock)


def _forbidden(uri: str, error: urllib.error.HTTPError) -> Finding:
    said = error.read(2000).decode(errors="replace")
    parts = urlparse(uri)
    host = host_of(uri)
    if error.code == 403 and INVALID_HOST in said:
        text = (
            f"the server at {uri} answers 403 Invalid Host header: it was not told that it is called {host!r}, and "
            "refuses names it does not know (the option replaces its own list: name all that are used)"
        )
        own = parts.hostname in ("127.0.0.1", "localhost", "::1")
        where = "127.0.0.1" if own else "0.0.0.0"  # it asks nobody for a password: in a private network only
        mend = f"start it with: mlflow server --host {where} --allowed-hosts {parts.hostname},{host}"
        return Finding("MLflow", "failure", text, mend)
    if error.code in (401, 403):
        text = f"the server at {uri} refuses this user and password, or their absence ({error.code} {error.reason})"
        return Finding("MLflow", "failure", text, f"correct {CREDENTIALS}")
    text = f"what answers at {uri} is no MLflow server, or is failing: {error.code} {error.reason}"
    return Finding("MLflow", "failure", text, "correct MLFLOW_TRACKING_URI, or look into the server's log")


def _versions(uri: str, server: str) -> Finding:
    client = importlib.metadata.version("mlflow")
    if not re.fullmatch(r"\d+\.\d+\S*", server):
        return Finding("MLflow", "warning", f"{uri} answers, but does not say its version; the client is {client}")
    text = f"{uri} answers; the server is mlflow {server}, the client {client}"
    if server.split(".")[:2] == client.split(".")[:2]:
        return Finding("MLflow", "ok", text)
    result = "failure" if server.split(".")[0] != client.split(".")[0] else "warning"
    mend = f"pip install mlflow=={client} where the server runs, then mlflow db upgrade its store"
    return Finding("MLflow", result, f"{text}: they were not tested together", mend)  # type: ignore[arg-type]


def _clocks(date: str) -> Iterator[Finding]:
    try:
        skew_s = time.time() - parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return
    text = f"this machine's clock is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} the server's"
    if abs(skew_s) > SKEW_S:
        worst = abs(skew_s) > STALE_S / 2
        more = f"; a driver counts as dead after {STALE_S:g} s of silence"
        yield Finding("clocks", "failure" if worst else "warning", text + more, "timedatectl set-ntp true")
    else:
        yield Finding("clocks", "ok", "within a few seconds of the server's")


def _database_server(uri: str, scheme: str) -> Iterator[Finding]:
    module, package = _DRIVERS[scheme]
    dialect = uri.split(":")[0].partition("+")[2] or module
    if importlib.util.find_spec(dialect.replace("-", "_")) is None:
        text = f"{uri} needs the Python package {dialect}, which is not installed"
        yield Finding("MLflow", "failure", text, f"pip install {package if dialect == module else dialect}")
        return
    parts = urlparse(uri)
    problem = _reachable(
        parts.hostname or "localhost", parts.port or {"postgresql": 5432, "mysql": 3306}.get(scheme, 1433)
    )
    if problem:
        text = f"{uri} cannot be reached: {problem}"
        yield Finding("MLflow", "failure", text, "start the database, or correct MLFLOW_TRACKING_URI")
    else:
        yield Finding("MLflow", "ok", f"{uri} can be reached; --deep opens it")


def _reachable(host: str, port: int) -> str:
    try:
        socket.create_connection((host, port), timeout=ANSWER_LIMIT_S).close()
    except OSError as error:
        return str(error)
    return ""
