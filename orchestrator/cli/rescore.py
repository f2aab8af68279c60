"""`hsfm-sweep rescore`: further scores from stored confusion matrices, without training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from orchestrator.cli.options import json_option, sweep_options, sweep_request
from orchestrator.cli.printing import console, print_json
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from orchestrator.analysis.rescored import RescoredCell
    from orchestrator.rescoring import Written


@click.command(
    epilog="""\b
Examples:
  hsfm-sweep rescore --grid quick                                     all scores that the tool knows
  hsfm-sweep rescore --grid quick --metric mcc --by-unit              with intervals over test images or blocks
  hsfm-sweep rescore --grid quick --metric-file my_metric.py --write  a score of your own, kept with the runs

my_metric.py holds `score(confusion_KK, class_names) -> float` (rows = target; None = not defined); the score is named
as the file."""
)
@sweep_options
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="A score by name. Can be repeated.")
@click.option(
    "--metric-file",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE.py",
    help="A score of your own, as one Python file (it is run: give trusted files only). Can be repeated.",
)
@click.option("--by-unit", is_flag=True, help="Also by test image or block, with a bootstrap interval over them.")
@click.option("--by-class", is_flag=True, help="Also IoU, F1, precision and recall of every class.")
@click.option("--write", is_flag=True, help="Store the scores with the runs in MLflow and in the report's files.")
@json_option
def rescore(
    metrics: tuple[str, ...],
    files: tuple[Path, ...],
    by_unit: bool,
    by_class: bool,
    write: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Score finished runs again, from the confusion matrix of every test image or block. Trains and loads nothing.

    Works for any sweep, also while it runs. Only --write changes something: it adds scores that runs do not have and
    never changes one; it is refused while the sweep runs.
    """
    request = sweep_request(**options)
    from orchestrator.analysis.rescored import rescored_to_data
    from orchestrator.api_plan import view_sweep
    from orchestrator.rescoring import rescore as score_again
    from orchestrator.rescoring import scorers_for, write_scores

    scorers = scorers_for(metrics, files)
    view = view_sweep(request.grid, request.locations, request.sweep_root, request.tracking_uri)
    if not view.records:
        raise ConfigError(
            f"sweep {request.grid.name!r} has no runs in {view.folder}; allowed: a sweep that was started; run "
            f"`hsfm-sweep --grid {options['grid']}` first, or name its folder with --out"
        )
    uri = request.tracking_uri
    cells = score_again(request.folder, view.plan, scorers, tracking_uri=uri, by_unit=by_unit)
    written = write_scores(request.folder, view.plan, scorers, tracking_uri=uri) if write else None
    if as_json:
        told = {"added": written.added, "kept": written.kept} if written else None
        print_json(rescored_to_data(request.grid.name, cells) | {"written": told})
    else:
        _print(cells, console(), by_unit=by_unit, by_class=by_class, written=written)


def _print(
    cells: Sequence[RescoredCell], out: Console, *, by_unit: bool, by_class: bool, written: Written | None
) -> None:
    from orchestrator.analysis.rescored import classes_table, scores_table, units_table

    out.print(scores_table(cells))
    if by_unit:
        for metric in cells[0].scores if cells else ():
            out.print(units_table(cells, metric))
        out.print(
            "95% interval: test images or blocks drawn with replacement, seeds fixed; it says nothing of other scenes.",
            style="dim",
        )
    for cell in (cell for cell in cells if by_class and cell.classes):
        out.print(classes_table(cell))
    earlier = " (earlier): runs of a setting or version that the grid does not ask for now."
    said = "± is the sample standard deviation over seeds. * chosen on validation labels."
    out.print(said + ("" if all(cell.is_asked for cell in cells) else earlier), style="dim")
    if written:
        out.print(
            f"{written.added} scores were added to the runs, {written.kept} were there; "
            f"results: {escape(str(written.report))}",
            soft_wrap=True,
        )
