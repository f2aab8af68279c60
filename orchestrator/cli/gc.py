"""`hsfm-sweep gc`: list, and with --apply delete, what a sweep needs no more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape

from orchestrator.cli.options import json_option, sweep_options, sweep_request
from orchestrator.cli.printing import console, print_json, size, table

if TYPE_CHECKING:
    from orchestrator.upkeep.collecting import Collected
    from orchestrator.upkeep.leftovers import Item


@click.command(
    epilog="""\b
Examples:
  hsfm-sweep gc --grid quick                    what could go, what stays and why; deletes nothing
  hsfm-sweep gc --grid quick --apply            delete it
  hsfm-sweep gc --grid quick --models --apply   also the models of finals that are not the best of their cell"""
)
@sweep_options
@click.option("--apply", is_flag=True, help="Delete what is listed. Default: only list it.")
@click.option("--models", is_flag=True, help="Also models of finals that are not the best of their finished cell.")
@click.option(
    "--unknown", is_flag=True, help="Also run folders that no ledger here knows (the storage may be shared!)."
)
@click.option("--failed", is_flag=True, help="Also checkpoints of failed runs, which a retry would go on from.")
@click.option("--cache", is_flag=True, help="Also prepared data of other versions and broken-off work in the cache.")
@click.option("--logs", is_flag=True, help="Also old logs of superseded runs, and old events that MLflow refused.")
@click.option(
    "--log-days", type=click.IntRange(0), default=30, show_default=True, help="Age in days from which a log is old."
)
@json_option
def gc(apply: bool, as_json: bool, **options: Any) -> int:
    """List what nothing needs any more, with size and reason, and what is kept and why; --apply deletes it.

    The best final of a cell is never deleted, nor one that an unfinished cell could still choose, nor a checkpoint
    that a run goes on from. Refuses to delete while a driver holds the sweep.
    """
    from orchestrator.upkeep.collecting import collect
    from orchestrator.upkeep.leftovers import Wanted

    wanted = Wanted(**{field.name: options.pop(field.name) for field in fields(Wanted)})
    request = sweep_request(**options)
    found = collect(request.grid, request.locations, request.sweep_root, request.tracking_uri, wanted, apply=apply)
    if as_json:
        print_json(found.to_data())
    else:
        print_collected(found, console())
    return 1 if found.problems else 0


def print_collected(found: Collected, out: Console) -> None:
    """What goes, path by path; what stays, counted by reason; and the sum."""
    data = found.to_data()
    rows = table("action", "what", ">size", "where", "why")
    for item in data["items"]:
        if item["action"] != "keep":
            rows.add_row(
                item["action"], item["kind"], size(item["bytes"]), escape(item["path"]), escape(item["reason"])
            )
    if rows.row_count:
        out.print(rows)
    _print_kept((item for item in found.items if not item.deletes), out)
    if found.driver:
        out.print(f"nothing can be deleted now: {escape(found.driver)} drives the sweep")
    elif found.applied:
        out.print(
            f"[bold]freed {size(found.freed_bytes)}[/bold] ({found.freed_bytes} bytes, {len(found.deleted)} items)"
        )
    elif found.deletable:
        total = data["totals"]["deletable_bytes"]
        out.print(f"[bold]{size(total)} can go[/bold] ({len(found.deletable)} items); --apply deletes them")
    else:
        out.print("there is nothing to delete")


def _print_kept(kept: Iterable[Item], out: Console) -> None:
    groups: dict[tuple[str, str], list[Item]] = {}
    for item in kept:
        groups.setdefault((item.kind, item.reason), []).append(item)
    rows = table("kept", ">items", ">size", "why", "for example")
    for (kind, reason), items in groups.items():
        total = sum(item.size for item in items)
        rows.add_row(kind, str(len(items)), size(total), escape(reason), escape(items[0].entry.path))
    if rows.row_count:
        out.print(rows)
