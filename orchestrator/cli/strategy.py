"""`hsfm-sweep strategy`: which strategies there are, and what each is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from orchestrator.cli.options import debug_option, json_option, load_plugins, plugin_option
from orchestrator.cli.printing import console, print_json, table
from orchestrator.cli.strategy_init import check, init
from orchestrator.plan.choices import strategy_class
from strategies._base import Strategy, field_values
from strategies.registry import list_strategies


@click.group()
def strategy() -> None:
    """Strategies: one way each to get a model for a data set."""


strategy.add_command(init)
strategy.add_command(check)


@strategy.command("list")
@plugin_option
@json_option
@debug_option
def list_(plugins: Sequence[Path], as_json: bool, debug: bool) -> None:  # noqa: ARG001
    """List all strategies."""
    load_plugins(plugins)
    found = {name: strategy_class(name) for name in list_strategies()}
    if as_json:
        print_json([strategy_to_data(name, kind) for name, kind in found.items()])
        return
    rows = table("strategy", "regimes", "pretrained on", "what it is")
    for name, kind in found.items():
        pretrained = ", ".join(kind.pretraining.datasets) if kind.pretraining else "-"
        rows.add_row(escape(name), ", ".join(kind.regimes), escape(pretrained), escape(kind.summary))
    console().print(rows)


@strategy.command()
@click.argument("name")
@plugin_option
@json_option
@debug_option
def info(name: str, plugins: Sequence[Path], as_json: bool, debug: bool) -> None:  # noqa: ARG001
    """Show the fields of a strategy, what is tuned, what it accepts and where its weights come from."""
    load_plugins(plugins)
    kind = strategy_class(name)
    if as_json:
        print_json(strategy_to_data(name, kind))
        return
    out = console()
    out.print(f"[bold]{escape(name)}[/bold]: {escape(kind.summary)}")
    space = kind().space()
    rows = table("field", "default", "tuned over (by default)")
    for field, value in field_values(kind()).items():
        rows.add_row(field, escape(str(value)), escape(str(space.get(field, ""))))
    out.print(rows)
    sees = kind().receptive_field_px
    out.print(f"regimes: {', '.join(kind.regimes)}; sees {sees} px; version {kind.implementation_version}")
    accepts = {key: value for key, value in asdict(kind.accepts).items() if value not in (None, False)}
    out.print(f"accepts: {escape(', '.join(f'{key} {_words(value)}' for key, value in accepts.items()))}")
    if kind.pretraining:
        given = kind.pretraining
        supervised = "supervised" if given.supervised else "self-supervised"
        out.print(
            f"weights: {given.weights}, {supervised} on {', '.join(given.datasets)} ({given.modality}, {given.domain})"
        )


def strategy_to_data(name: str, kind: type[Strategy]) -> dict[str, Any]:
    """A strategy's datasheet as plain data."""
    instance = kind()
    return {
        "name": name,
        "summary": kind.summary,
        "kind": kind.kind,
        "regimes": list(kind.regimes),
        "fields": _plain(field_values(instance)),
        "tuned": {key: {"kind": type(d).__name__, **_plain(asdict(d))} for key, d in instance.space().items()},
        "accepts": _plain(asdict(kind.accepts)),
        "pretraining": _plain(asdict(kind.pretraining)) if kind.pretraining else None,
        "receptive_field_px": instance.receptive_field_px,
        "implementation_version": kind.implementation_version,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple | list) else value


def _words(value: Any) -> str:
    if not isinstance(value, tuple):
        return str(value)
    numbers = len(value) == 2 and all(isinstance(one, int | float) for one in value)
    return (" to " if numbers else " or ").join(map(str, value))
