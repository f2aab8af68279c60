"""`hsfm-sweep reproduce`: train a published row again and print ours beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape

from orchestrator.cli.last_words import last_words
from orchestrator.cli.options import data_root_option, debug_option, json_option, out_option, tracking_uri_option
from orchestrator.cli.plan import print_plan
from orchestrator.cli.printing import console, print_json, table
from orchestrator.datasets.locations import DataLocations
from orchestrator.errors import ConfigError
from orchestrator.plan.export import plan_to_data
from orchestrator.reference import GENERATED, METRICS, find_row
from orchestrator.reproduction import Reproduced, RowState, reproduction_grid, row_states, run_rows_again

if TYPE_CHECKING:
    from orchestrator.reference import PublishedRow

TITLES = {"oa": "OA", "aa": "AA", "mean_f1": "F1", "miou": "mIoU"}


@click.command(
    epilog="""\b
Examples:
  hsfm-sweep reproduce --list                      published rows, and which can be trained here now
  hsfm-sweep reproduce hyko2/unet/hsi --plan       what it costs; starts nothing
  hsfm-sweep reproduce hyko2/unet/hsi              train it, or continue; then ours beside the published scores
  hsfm-sweep reproduce hyko2/unet/hsi --epochs 50 train.precision=bf16"""
)
@click.argument("row", required=False)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--list", "as_list", is_flag=True, help="List the published rows, and what each lacks.")
@click.option("--plan", "as_plan", is_flag=True, help="Show what would run and what it costs. Starts nothing.")
@click.option("--epochs", type=click.IntRange(1), help="Train so many epochs instead of the published number.")
@data_root_option
@out_option
@tracking_uri_option
@json_option
@debug_option
def reproduce(
    row: str | None,
    overrides: tuple[str, ...],
    as_list: bool,
    as_plan: bool,
    epochs: int | None,
    data_root: Path | None,
    out: Path,
    tracking_uri: str | None,
    as_json: bool,
    debug: bool,  # noqa: ARG001 - read by `main` from the arguments
) -> int:
    """Train one row of a published table again: its hyperparameters, split, seed and protocol, and no search.

    Prints our scores, by the papers' convention, beside the published ones. It is a sweep of its own in --out, so it
    can be killed and continued, and its grid.yaml there works with every other verb.
    """
    locations = DataLocations.from_environment(data_root)
    if as_list:
        return _list(row_states(locations), as_json)
    if row is None:
        raise ConfigError(
            "no row was given; allowed: a name such as hyko2/unet/hsi; see them with `hsfm-sweep reproduce --list`"
        )
    published = find_row(row)
    settings = with_epochs(overrides, epochs)
    grid = reproduction_grid([published], sweep_name(published, epochs), settings)
    root = out.expanduser().absolute()
    if as_plan:
        from orchestrator.api_plan import build_plan

        made = build_plan(grid, locations, root, tracking_uri)
        if as_json:
            print_json(plan_to_data(made))
        else:
            print_plan(made, console(), most_cells=None, show_all="")
        return 0
    shown = Console(stderr=True) if as_json else console()
    with last_words():
        found = run_rows_again([published], grid, locations, root, tracking_uri, overrides=settings, console=shown)
    if as_json:
        print_json({"schema": 1, "rows": [reproduced_to_data(one) for one in found]})
    else:
        print_comparison(found, shown)
    return 0 if all(one.state == "complete" for one in found) else 1


def sweep_name(row: PublishedRow, epochs: int | None) -> str:
    """The name of a row's sweep; with another number of epochs it is another one."""
    name = f"reproduce-{row.name.replace('/', '-')}"
    return name if epochs is None else f"{name}-{epochs}-epochs"


def with_epochs(overrides: Sequence[str], epochs: int | None) -> list[str]:
    """The overrides, with the number of epochs among them."""
    return [*overrides] if epochs is None else [*overrides, f"train.epochs={epochs}"]


def _list(states: Sequence[RowState], as_json: bool) -> int:
    if as_json:
        print_json({"schema": 1, "rows": [_state_to_data(one) for one in states]})
        return 0
    shown = table("row", "method", *(f">{TITLES[name]}" for name in METRICS), "protocol", "here")
    for one in states:
        row = one.row
        values = [f"{row.values[name]:.2f}" if name in row.values else "-" for name in METRICS]
        mark = " (a)" if row.inconsistent else ""
        shown.add_row(row.name, f"{row.label}{mark}", *values, row.source.protocol, escape(_here(one)))
    out = console()
    out.print(shown)
    for one in states:
        if one.row.inconsistent:
            out.print(f"(a) {one.row.name}: {escape(one.row.inconsistent)}", style="dim")
    for source in {one.row.source.name: one.row.source for one in states}.values():
        address = source.address or "no public address"
        out.print(f"{source.protocol}: {escape(source.title)}, {escape(address)}", style="dim", soft_wrap=True)
    for remedy in dict.fromkeys(one.remedy for one in states if one.remedy):
        out.print(f"to get data: [bold]{escape(remedy)}[/bold]", soft_wrap=True)
    return 0


def _here(state: RowState) -> str:
    if not state.can_run:
        return state.reason if state.row.reason else f"no data: {state.reason}"
    return f"ready ({GENERATED})" if state.is_generated else "ready"


def _state_to_data(state: RowState) -> dict[str, Any]:
    return {
        **row_to_data(state.row),
        "can_run": state.can_run,
        "reason": state.reason,
        "remedy": state.remedy,
        "is_generated_data": state.is_generated,
    }


def row_to_data(row: PublishedRow) -> dict[str, Any]:
    """A published row as JSON can hold it; scores in hundredths."""
    return {
        "row": row.name,
        "dataset": row.dataset,
        "method": row.method,
        "input": row.input,
        "published": dict(row.values),
        "protocol": row.source.protocol,
        "year": row.source.year,
        "source": row.source.address,
        "inconsistent": row.inconsistent,
        "note": row.note,
    }


def reproduced_to_data(one: Reproduced) -> dict[str, Any]:
    """Our scores beside the published ones as JSON can hold them; scores in hundredths."""
    return {
        **row_to_data(one.row),
        "ours": dict(one.ours),
        "ours_scored_classes_only": dict(one.own),
        "difference": {name: one.difference(name) for name in METRICS if one.difference(name) is not None},
        "state": one.state,
        "is_generated_data": one.is_generated,
        "key": one.key,
        "dataset_digest": one.digest,
        "device": one.device,
    }


def print_comparison(found: Sequence[Reproduced], out: Console) -> None:
    """Ours and published, score by score, with what must be known to read them."""
    shown = table("row", "score", ">ours", ">published", ">difference", ">ours, scored classes only")
    for one in found:
        if one.state != "complete":
            shown.add_row(one.row.name, escape(one.state))
            continue
        for name in METRICS:
            difference = one.difference(name)
            told = GENERATED if one.is_generated else "-" if difference is None else f"{difference:+.2f}"
            shown.add_row(
                one.row.name,
                TITLES[name],
                _number(one.ours, name),
                _number(one.row.values, name),
                told,
                _number(one.own, name),
            )
    out.print(shown)
    out.print(
        "ours: by the papers' convention (AA and F1 fall where a labelled pixel is predicted as undefined); published: "
        "one training each, so differences of some points are expected.",
        style="dim",
    )
    for one in found:
        for text in (one.row.inconsistent, one.row.note):
            if text:
                out.print(f"{one.row.name}: {escape(text)}", style="dim", soft_wrap=True)
        out.print(f"source: {escape(one.row.source.address)}, protocol {one.row.source.protocol}", style="dim")


def _number(values: Any, name: str) -> str:
    return f"{values[name]:.2f}" if name in values else "-"
