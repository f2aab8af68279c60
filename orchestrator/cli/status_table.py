"""How `hsfm-sweep status` looks: header, cells, runs under way, failures, and what is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table

from orchestrator.cli.printing import duration, styled, table
from orchestrator.cli.status_header import count_of, header, when
from orchestrator.sweep_status import CellStatus, FailureGroup, RunStatus, SweepStatus
from orchestrator.sweep_status.model import CELL_STATES

MOST_CELLS = 40
MOST_RUNS = 12
MOST_NAMES = 4


@dataclass(frozen=True, kw_only=True)
class Detail:
    """How much is shown, and the commands that messages name."""

    everything: bool = False
    filtered: bool = False
    """Whether some cells were filtered away."""
    most_cells: int = MOST_CELLS
    most_runs: int = MOST_RUNS
    totals_first: bool = False
    retry: str = ""
    go_on: str = ""
    show_all: str = ""


def screen(found: SweepStatus, detail: Detail, out: Console, problem: str = "") -> Group:
    """All of it for a terminal that is drawn again and again.

    What does not fit is grouped, and the rest is cut off at the bottom: so the totals stand above it.
    """
    runs = max(3, out.height // 4)
    fits = max(3, out.height - 12 - min(runs, len(found.running)))
    less = replace(detail, most_cells=min(detail.most_cells, fits), most_runs=runs, totals_first=True)
    return Group(*([f"[red]{escape(problem)}[/red]"] if problem else []), *render(found, less))


def render(found: SweepStatus, detail: Detail) -> Iterator[RenderableType]:
    """The parts of the page from top to bottom; strings are lines with markup."""
    yield from header(found, detail.go_on)
    yield ""
    if detail.totals_first:
        yield from _footer(found, detail)
        yield ""
    if detail.everything or len(found.cells) <= detail.most_cells:
        yield _cells(found)
    else:
        yield _groups(found.cells)
        yield f"{len(found.cells)} cells, grouped by strategy; one by one: {escape(detail.show_all)}"
    yield from _stages(found.stages)
    yield from _running(found.running, None if detail.everything else detail.most_runs)
    for group in found.failures:
        yield from _failure(group)
    if found.failures:
        yield f"  try them again: [bold]{escape(detail.retry)}[/bold]"
    if not detail.totals_first:
        yield ""
        yield from _footer(found, detail)


# ---- cells


def _cells(found: SweepStatus) -> Table:
    metric = found.metric
    rows = table(
        "strategy", "data set", "labels", "state", ">search", ">final", ">now", f">best val {metric}", "trial",
        f">mean test {metric}", ">time", ">left",
    )  # fmt: skip
    for cell in found.cells:
        rows.add_row(
            escape(cell.strategy),
            escape(cell.dataset),
            cell.label_budget + (", random split" if cell.split == "random" else ""),
            styled(cell.state) + (" (optional)" if cell.optional else ""),
            _done(cell.search_done, cell.search_runs),
            _done(cell.final_done, cell.final_runs),
            str(cell.running or ""),
            _score(cell.best_validation),
            _trial(cell.best_trial),
            _score(cell.mean_test),
            duration(cell.seconds) if cell.seconds else "-",
            "-" if cell.state in ("done", "blocked") else duration(cell.left_s),
        )
    return rows


def _stages(stages: Sequence[CellStatus]) -> Iterator[str]:
    """Stages that cells share, counted by what they are; those at work are among the runs."""
    for start, words in (("pretrain of", "own pretraining"), ("features of", "extraction of frozen features")):
        found = [one for one in stages if one.strategy.startswith(start)]
        counts = Counter(one.state for one in found)
        if found:
            states = ", ".join(f"{counts[state]} {styled(state)}" for state in CELL_STATES if counts[state])
            yield f"shared by cells: {len(found)} x {words}: {states}"


def _groups(cells: Sequence[CellStatus]) -> Table:
    """Scores of several data sets have no common best: here runs and states are counted only."""
    by_strategy: dict[str, list[CellStatus]] = {}
    for cell in cells:
        by_strategy.setdefault(cell.strategy, []).append(cell)
    rows = table("strategy", ">cells", "states", ">search", ">final", ">now", ">failed", ">time", ">left")
    for strategy, group in by_strategy.items():
        counts = Counter(cell.state for cell in group)
        left = [cell.left_s for cell in group if cell.left_s is not None]
        rows.add_row(
            escape(strategy),
            str(len(group)),
            ", ".join(f"{counts[state]} {styled(state)}" for state in CELL_STATES if counts[state]),
            _done(sum(c.search_done for c in group), sum(c.search_runs for c in group)),
            _done(sum(c.final_done for c in group), sum(c.final_runs for c in group)),
            str(sum(c.running for c in group) or ""),
            str(sum(c.runs_failed for c in group) or ""),
            duration(sum(c.seconds for c in group)),
            duration(sum(left)) if left else "-",
        )
    return rows


# ---- runs and failures


def _running(runs: Sequence[RunStatus], most: int | None) -> Iterator[RenderableType]:
    if not runs:
        return
    is_cut_off = all(run.state == "interrupted" for run in runs)
    yield ""
    yield "interrupted; they go on from their last checkpoints:" if is_cut_off else "running now:"
    rows = table("  run", "cell", ">step", "", ">attempt", ">last report", "")
    for run in runs[:most]:
        ago = "" if run.reported_s_ago is None else f"{duration(run.reported_s_ago)} ago"
        share = f"{run.step / run.steps:.0%}" if run.steps else ""
        note = "waits for its round" if run.state == "at_rung" else (f"before: {run.error}" if run.error else "")
        rows.add_row(
            f"  {run.slot}", escape(run.cell), f"{run.step}/{run.steps}", share, str(run.attempt), ago, escape(note)
        )
    yield rows
    if most is not None and len(runs) > most:
        yield f"  ... and {len(runs) - most} more (--all)"


def _failure(group: FailureGroup) -> Iterator[str]:
    names = ", ".join(group.cells[:MOST_NAMES])
    more = f" and {len(group.cells) - MOST_NAMES} more" if len(group.cells) > MOST_NAMES else ""
    yield ""
    yield (
        f"[red]failed: {count_of(group.count, 'run')} in {count_of(len(group.cells), 'cell')}[/red], "
        f"{escape((group.cause or 'cause not recorded').replace('_', ' '))}: {escape(group.error)}"
    )
    yield f"  cells:   {escape(names)}{more}"
    yield f"  advice:  {escape(group.advice)}"
    example = group.runs[0]
    yield f"  example: {escape(example['cell'])} {example['slot']}"
    yield f"  log:     {escape(group.log)}"
    for line in group.log_lines:
        yield f"    [dim]| {escape(line)}[/dim]"


# ---- what is left


def _footer(found: SweepStatus, detail: Detail) -> Iterator[str]:
    totals, beyond = found.totals, found.not_in_grid
    if detail.filtered:
        yield f"{found.cells_shown} of {totals['cells']} cells are shown"
    counts = ", ".join(f"{count} {state}" for state, count in totals["states"].items() if count)
    line = f"[bold]{escape(found.name)}[/bold]: {counts}; runs {totals['runs_done']}/{totals['runs']}"
    line += f" (search {_done(totals['search_done'], totals['search_runs'])}, "
    line += f"final {_done(totals['final_done'], totals['final_runs'])})"
    for name, words in (("runs_failed", "failed"), ("running", "running now"), ("repeated", "needed another attempt")):
        line += f", {totals[name]} {words}" if totals[name] else ""
    line += f" ({count_of(totals['lost_steps'], 'step')} trained twice)" if totals["lost_steps"] else ""
    yield line
    if beyond.cells:
        yield (
            f"{count_of(beyond.cells, 'cell')} with {count_of(beyond.runs_done, 'finished run')} in the ledger "
            f"{'is' if beyond.cells == 1 else 'are'} not in this grid (it was changed, or the data were); kept"
        )
    if beyond.slots:
        yield f"{count_of(beyond.slots, 'run')} in the ledger beyond this grid's trials and seeds; kept"
    by_name = sum(cell.matched_by == "name" for cell in found.cells)
    if by_name:
        yield f"{count_of(by_name, 'cell')} matched by name: the data set is not prepared here (see hsfm-sweep plan)"
    yield from _time_left(found)


def _time_left(found: SweepStatus) -> Iterator[str]:
    left = found.left
    if found.state in ("finished", "not_started"):
        return
    if left.wall_s is None:
        words = "no estimate yet: nothing has finished" if not left.is_measured else ""
        yield words or f"about {duration(left.work_s)} of work left on one worker group"
    elif left.finish is not None:
        yield (
            f"about {duration(left.wall_s)} left on {count_of(left.groups or 1, 'worker group')}: "
            f"done at about {when(left.finish, found.time)}"
        )
    elif left.wall_s > 0:
        yield f"about {duration(left.wall_s)} left on {count_of(left.groups or 1, 'worker group')}, once it goes on"


# ---- words


def _done(done: int, total: int) -> str:
    return f"{done}/{total}" if total else "-"


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _trial(slot: str | None) -> str:
    """`search/f0/3` as "3", with its fold where that is not the first."""
    if slot is None:
        return ""
    _, fold, number = slot.split("/")
    return number if fold == "f0" else f"{number} ({fold})"
