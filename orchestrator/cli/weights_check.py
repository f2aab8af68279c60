"""`hsfm-sweep weights check` and `convert`: hold a file against its model, and keep what a model takes of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.options import data_root_option, debug_option, json_option
from orchestrator.cli.printing import print_json, size
from orchestrator.cli.weights_names import check_name, status_of
from orchestrator.datasets.locations import DataLocations
from orchestrator.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    from strategies.backbones._inspection import Inspection

FITTING_KEYS = 12
"""At most so many keys of a list are printed; --json has them all."""


@click.command(
    epilog="""\b
Examples:
  hsfm-sweep weights check spectf_v010                     the file that runs would use
  hsfm-sweep weights check model.pth                       a file of unknown origin: it is recognised by its keys
  hsfm-sweep weights check model.pth --as spectf_v010      a file, held against that model"""
)
@click.argument("subject", metavar="NAME|FILE")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--as", "name", metavar="NAME", help="The weights that the file should be.")
@data_root_option
@json_option
@debug_option
def check(
    subject: str,
    file: Path | None,
    name: str | None,
    data_root: Path | None,
    as_json: bool,
    debug: bool,  # noqa: ARG001
) -> int:
    """Hold a file against its model: every key must fit, none may be left over. Needs torch.

    Exit status 1 where a key is missing, left over or of another shape, or where the file is not the published one.
    """
    name, path = _what_to_check(subject, file, name, DataLocations.from_environment(data_root))
    from strategies._checks import StrategyError
    from strategies.backbones._inspection import inspect, recognise
    from strategies.backbones._specs import get_spec

    try:
        known = name or recognise(path)
        found = inspect(get_spec(known), path)
    except StrategyError as error:
        raise WeightsError(f"{error}{_likeness(path) if name else ''}") from error
    hint = _likeness(path) if found.missing or found.unexpected or found.misshapen else ""
    if as_json:
        print_json(inspection_to_data(found))
    else:
        _print(found)
    if found.problems:
        raise WeightsError(f"{path} is not {known!r} as published: {found.problems}{hint}")
    return 0


@click.command()
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("target", required=False, type=click.Path(path_type=Path), metavar="[OUT.safetensors]")
@debug_option
def convert(name: str, file: Path, target: Path | None, debug: bool) -> None:  # noqa: ARG001
    """Keep what a model takes of a checkpoint, as safetensors: no wrappers, optimiser or decoder. Needs torch.

    Without OUT it goes to the cache, where runs find it in place of the original; its numbers are the same, so that
    runs keep their keys. A file elsewhere is brought there by `weights fetch NAME --from OUT`.
    """
    check_name(name)
    if target is not None and target.suffix != ".safetensors":
        raise ConfigError(f"{target} does not end in .safetensors; allowed: a file that does; rename it")
    _needs_file(file)
    from strategies._checks import StrategyError
    from strategies.backbones._converted import convert as convert_file
    from strategies.backbones._inspection import inspect
    from strategies.backbones._places import converted_path
    from strategies.backbones._specs import get_spec

    out = target or converted_path(name, DataLocations.from_environment().cache)
    try:
        found = inspect(get_spec(name), file)
        if found.problems:
            raise WeightsError(f"{file} is not {name!r} as published: {found.problems}; nothing was written")
        before, after = convert_file(get_spec(name), file, out, source_sha256=found.sha256)
    except StrategyError as error:
        raise WeightsError(str(error)) from error
    click.echo(f"{name}: {out} ({size(after)} of {size(before)})")


def inspection_to_data(found: Inspection) -> dict[str, Any]:
    """A check as plain data: schema 1 of `weights check --json`."""
    report = found.report
    return {
        "schema": 1,
        "name": report.name,
        "path": report.path,
        "fits": not found.problems,
        "problems": found.problems,
        "origin": found.origin,
        "sha256": found.sha256,
        "size_bytes": found.size_bytes,
        "stem": found.stem,
        "share_of_model": report.share_of_backbone,
        "share_of_file": report.share_of_file,
        "parameters_loaded": report.parameters_loaded,
        "parameters_in_file": report.parameters_in_file,
        "keys_in_file": report.keys_in_file,
        "keys_loaded": report.keys_loaded,
        "missing": list(found.missing),
        "unexpected": list(found.unexpected),
        "wrong_shape": list(found.misshapen),
        "allowed_missing": list(report.keys_missing),
        "dropped": list(report.keys_dropped),
    }


def _what_to_check(
    subject: str, file: Path | None, name: str | None, locations: DataLocations
) -> tuple[str | None, Path]:
    """Name and file that the arguments mean; no name where the file must be recognised."""
    from strategies.backbones._specs import TIMM, list_weights

    if name is not None:
        if file is not None:
            raise ConfigError(f"--as {name} and {file}: two names or two files; allowed: check FILE --as NAME")
        check_name(name)
        return name, _needs_file(Path(subject))
    if subject in list_weights() or subject.startswith(TIMM):
        check_name(subject)
        if file is not None:
            return subject, _needs_file(file)
        one = status_of(subject, locations)
        if one.path is None:
            raise WeightsError(f"{one.reason}; to mend it: {one.remedy}")
        return subject, Path(one.path)
    if file is not None or not Path(subject).is_file():
        check_name(subject)
    return None, Path(subject)


def _likeness(file: Path) -> str:
    """Whose a file seems to be that is not what it should be, after a comma; empty where nobody knows."""
    from strategies._checks import StrategyError
    from strategies.backbones._inspection import described, resembling

    try:
        return described(resembling(file))
    except StrategyError:
        return ""


def _needs_file(file: Path) -> Path:
    if not file.is_file():
        raise WeightsError(f"{file} is not a file; give the path of a checkpoint")
    return file


def _print(found: Inspection) -> None:
    report = found.report
    lines = {
        "weights": report.name,
        "file": f"{report.path} ({size(found.size_bytes)}, {found.origin})",
        "sha256": found.sha256,
        "of the model": f"{report.share_of_backbone:.2%} of its parameters come from the file",
        "of the file": f"{report.share_of_file:.2%} of its {report.parameters_in_file} parameters are used, "
        f"{report.keys_loaded} of {report.keys_in_file} keys",
        "stem": found.stem,
        "missing": _keys(found.missing),
        "unexpected": _keys(found.unexpected),
        "wrong shape": _keys(found.misshapen),
        "missing, as allowed": _keys(report.keys_missing),
        "dropped, as allowed": _keys(report.keys_dropped),
    }
    for key, value in lines.items():
        click.echo(f"{key}: {value}")


def _keys(keys: tuple[str, ...]) -> str:
    more = f" and {len(keys) - FITTING_KEYS} more" if len(keys) > FITTING_KEYS else ""
    return f"{len(keys)}: {', '.join(keys[:FITTING_KEYS])}{more}" if keys else "none"
