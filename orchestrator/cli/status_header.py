"""The top of `hsfm-sweep status`: driver, start, ledger and disk, in words."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from rich.markup import escape

from orchestrator.cli.printing import duration, size
from orchestrator.plan.durations import clock
from orchestrator.sweep_status import SweepStatus

_ENDINGS = {
    "finished": "no driver: all that can run is done",
    "not_started": "not started",
    "stopped": "no driver at work: it was ended. The same command goes on",
    "interrupted": "no driver at work: the last one was killed. The same command goes on",
}


def header(found: SweepStatus, go_on: str) -> Iterator[str]:
    """The lines, with markup; `go_on` is the command that starts or continues the sweep."""
    yield f"[bold]{escape(found.name)}[/bold]  {escape(found.folder)}"
    yield f"  driver   {escape(_driver_words(found))}"
    if found.state in ("stopped", "interrupted", "not_started"):
        verb = "start it" if found.state == "not_started" else "go on"
        yield f"           {verb}: [bold]{escape(go_on)}[/bold]"
    if found.started:
        seconds = _seconds_between(found.started, found.time)
        yield f"  started  {when(found.started, found.time)} ({duration(seconds)} ago)"
    if found.is_started:
        yield f"  ledger   {_ledger_words(found)}"
    disk = found.disk
    if disk.used_bytes is not None and disk.free_bytes is not None:
        more = "more than " if disk.is_partial else ""
        yield f"  disk     {more}{size(disk.used_bytes)} used in the folder, {size(disk.free_bytes)} free"


def _driver_words(found: SweepStatus) -> str:
    driver = found.driver
    if driver is None or not driver.at_work:
        words = _ENDINGS.get(found.state, "no driver at work")
        beat = driver.heartbeat if driver else None
        return f"{words}; last heard of {when(beat, found.time)}" if beat and found.state != "finished" else words
    words = f"process {driver.process} on {driver.host or 'an unknown host'}, at work since"
    words += f" {when(driver.since, found.time)}"
    if driver.heartbeat_age_s is not None:
        words += f", last heartbeat {duration(driver.heartbeat_age_s)} ago"
    if found.worker_groups is not None:
        words += f", {count_of(found.worker_groups, 'worker group')}"
    return words


def _ledger_words(found: SweepStatus) -> str:
    ledger = found.ledger
    waiting = f"{count_of(ledger.events_waiting, 'event')} in the spool"
    if ledger.is_behind:
        age = duration(found.driver.heartbeat_age_s if found.driver else None)
        words = f"[red]MLflow has taken nothing for {age}[/red]: {waiting}, nothing is lost"
    elif ledger.events_waiting and not (found.driver and found.driver.at_work):
        words = f"{waiting} that MLflow was not told yet; the next start tells it"
    elif ledger.events_waiting:
        words = f"up to date but for {waiting}"
    else:
        words = "MLflow has everything"
    refused = ledger.events_refused
    return words + (f"; [red]{refused} refused for good, see {escape(ledger.spool)}[/red]" if refused else "")


def when(iso: str, now: str) -> str:
    """A time in ISO 8601, as it is told at the time `now`."""
    try:
        return clock(datetime.fromisoformat(iso).astimezone(), datetime.fromisoformat(now).astimezone())
    except ValueError:
        return iso or "an unknown time"


def count_of(number: int, what: str) -> str:
    """A number with its noun."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def _seconds_between(earlier: str, later: str) -> float | None:
    try:
        return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()
    except (ValueError, TypeError):
        return None
