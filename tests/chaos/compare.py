"""Whether a shaken sweep ended like an undisturbed one: every difference in a sentence, none is the proof."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from orchestrator.ledger.records import CellRecord, SlotRecord
from orchestrator.ledger.store import open_ledger

FREE_COLUMNS = frozenset(
    {"run_id", "attempt", "device_s", "wall_s", "log", "git_commit", "git_dirty", "versions"}
    | {name for kind in ("search", "final", "pretrain", "features") for name in (f"{kind}_s", f"{kind}_device_s")}
)
"""Columns of the results table that tell how a run went, not what came out of it."""
FREE_METRICS = "cost/"
"""MLflow metrics that tell how long a run took."""
_STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


def differences(
    calm: Path, shaken: Path, name: str, closed_before_kills: Iterable[Mapping[str, SlotRecord]] = ()
) -> list[str]:
    """Everything in which the sweep in folder `shaken` is not like the one in `calm`.

    Args:
        calm: folder of the undisturbed sweep.
        shaken: folder of the sweep under kills.
        name: name of both sweeps.
        closed_before_kills: slots that were closed before each kill.
    """
    calm_cells, shaken_cells = _cells(calm, name), _cells(shaken, name)
    found = _slot_differences(slots_of(calm_cells), slots_of(shaken_cells))
    found += _winner_differences(calm_cells, shaken_cells)
    found += repeated_runs(slots_of(shaken_cells), closed_before_kills)
    found += mlflow_problems(shaken / "mlflow.db", slots_of(shaken_cells))
    found += _history_differences(calm / "mlflow.db", shaken / "mlflow.db")
    found += _table_differences(calm / "report" / "results.parquet", shaken / "report" / "results.parquet")
    return found


def _cells(folder: Path, name: str) -> dict[str, CellRecord]:
    return open_ledger(folder, name, mode="read").cells()


def slots_of(cells: Mapping[str, CellRecord]) -> dict[str, SlotRecord]:
    """All slots by strategy and slot name."""
    return {f"{cell.tags['hsfm.strategy']} {n}": slot for cell in cells.values() for n, slot in cell.slots.items()}


def _slot_differences(calm: Mapping[str, SlotRecord], shaken: Mapping[str, SlotRecord]) -> list[str]:
    found = [f"slot {slot!r} is missing" for slot in sorted(calm.keys() - shaken.keys())]
    found += [f"slot {slot!r} exists only in the shaken sweep" for slot in sorted(shaken.keys() - calm.keys())]
    for slot in sorted(calm.keys() & shaken.keys()):
        for field in ("key", "state", "reached_step", "params", "scores", "stop_reason"):
            ours, theirs = getattr(calm[slot], field), getattr(shaken[slot], field)
            if ours != theirs:
                found.append(f"slot {slot!r}: {field} is {theirs!r}, undisturbed {ours!r}")
    return found


def _winner_differences(calm: Mapping[str, CellRecord], shaken: Mapping[str, CellRecord]) -> list[str]:
    found = []
    for cell_id in sorted(calm.keys() & shaken.keys()):
        for tag in ("hsfm.model", "hsfm.model_slot", "hsfm.state", "hsfm.finals"):
            ours, theirs = calm[cell_id].tags.get(tag), shaken[cell_id].tags.get(tag)
            if ours != theirs:
                found.append(
                    f"cell {calm[cell_id].tags.get('hsfm.cell_name')!r}: {tag} is {theirs}, undisturbed {ours}"
                )
    return found


def repeated_runs(
    after: Mapping[str, SlotRecord], closed_before_kills: Iterable[Mapping[str, SlotRecord]]
) -> list[str]:
    """Runs that were closed before a kill and were touched after it."""
    found: dict[str, str] = {}
    for number, closed in enumerate(closed_before_kills, start=1):
        for slot, before in closed.items():
            now = after.get(slot)
            if now is None or now.attempt != before.attempt:
                found[slot] = (
                    f"slot {slot!r} was {before.state} in attempt {before.attempt} before kill {number} and was run "
                    f"again: attempt {now.attempt if now else 'unknown'} at the end"
                )
            elif now != before:
                found[slot] = f"slot {slot!r} was {before.state} before kill {number} and its record has changed since"
    return list(found.values())


def mlflow_problems(database: Path, slots: Mapping[str, SlotRecord]) -> list[str]:
    """Runs that are still RUNNING, and closed slots without exactly one MLflow run of the right status."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        running = connection.execute("select name from runs where status in ('RUNNING', 'SCHEDULED')").fetchall()
        rows = connection.execute(
            "select tags.value, runs.status from runs "
            "join tags on tags.run_uuid = runs.run_uuid and tags.key = 'hsfm.key' "
            "join tags as role on role.run_uuid = runs.run_uuid and role.key = 'hsfm.role' and role.value = 'run'"
        ).fetchall()
    found = [f"MLflow run {name!r} is still RUNNING" for (name,) in running]
    statuses: dict[str, list[str]] = {}
    for key, status in rows:
        statuses.setdefault(key, []).append(status)
    for slot, record in sorted(slots.items()):
        have, want = statuses.get(record.key, []), [_STATUS.get(record.state, "")]
        if record.is_closed and have != want:
            found.append(
                f"slot {slot!r} ({record.state}): MLflow has {have or 'no run'} for key {record.key}, not {want}"
            )
    return found


def _history_differences(calm: Path, shaken: Path) -> list[str]:
    """Metric points of every run that are missing, doubled or others. When they were written does not count."""
    ours, theirs = _history(calm), _history(shaken)
    found = []
    for key in sorted(ours.keys() | theirs.keys()):
        missing, extra = ours[key] - theirs[key], theirs[key] - ours[key]
        for what, points in (("lacks", missing), ("has too many", extra)):
            if points:
                shown = ", ".join(f"{n} = {v:.4f} at step {s}" for n, s, v in sorted(points)[:2])
                found.append(f"MLflow run of key {key} {what} {points.total()} metric points, such as {shown}")
    return found


def _history(database: Path) -> dict[str, Counter[tuple[str, int, float]]]:
    query = (
        "select tags.value, metrics.key, metrics.step, metrics.value from metrics "
        "join tags on tags.run_uuid = metrics.run_uuid and tags.key = 'hsfm.key'"
    )
    points: dict[str, Counter[tuple[str, int, float]]] = {}
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        for key, name, step, value in connection.execute(query):
            if not name.startswith(FREE_METRICS):
                points.setdefault(key, Counter())[name, step, value] += 1
    return _Histories(points)


class _Histories(dict[str, "Counter[tuple[str, int, float]]"]):
    def __missing__(self, key: str) -> Counter[tuple[str, int, float]]:
        return Counter()


def _table_differences(calm: Path, shaken: Path) -> list[str]:
    if not shaken.is_file():
        return [f"there is no results table {shaken.name}"]
    ours, theirs = _rows(calm), _rows(shaken)
    found = [f"results.parquet lacks the run {key}" for key in sorted(ours.keys() - theirs.keys())]
    found += [f"results.parquet has a further run {key}" for key in sorted(theirs.keys() - ours.keys())]
    for key in sorted(ours.keys() & theirs.keys()):
        names = [n for n in ours[key] if n not in FREE_COLUMNS and ours[key][n] != theirs[key].get(n)]
        if names:
            shown = f"{names[0]} {theirs[key].get(names[0])!r}, undisturbed {ours[key][names[0]]!r}"
            found.append(f"results.parquet, run {key} ({ours[key]['slots']}): {', '.join(names)} differ: {shown}")
    return found


def _rows(path: Path) -> dict[str, dict[str, Any]]:
    from orchestrator.analysis.results import read_parquet

    return {row["key"]: row for row in read_parquet(path).to_pylist()}
