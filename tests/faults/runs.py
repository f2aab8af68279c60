"""Faults of a run: what a strategy, its numbers or its appetite can do."""

from __future__ import annotations

from tests.faults.fault import Fault
from tests.faults.rig import Rig
from tests.faults.rows import Row

MEMORY_SETTING = "memory_limit_gib"
LIMIT_GIB = 1.6
BATCH = 256
"""Pixels of a step in the rig's grid."""


def _break_the_plugin(rig: Rig) -> None:
    (rig.folder / "broken").touch()


def _mend_the_plugin(rig: Rig) -> None:
    (rig.folder / "broken").unlink()


def _break_it_in_three_cells(rig: Rig) -> None:
    _break_the_plugin(rig)
    rig.overrides = ["strategies=[plugin/raises]", "label_budgets=[0.1,0.2,0.3,0.4]"]


def _mend_and_ask_for_all(rig: Rig) -> None:
    """The mistake is mended, and the sweep's other cells are asked for, to be compared."""
    _mend_the_plugin(rig)
    rig.overrides = ["label_budgets=[0.1]"]


def _failed_without_retry(rig: Rig, row: Row) -> None:
    """A run that is wrong in itself must not be trained again and again."""
    mine = {name: slot for name, slot in rig.slots().items() if name.startswith("plugin/")}
    again = [name for name, slot in mine.items() if slot.attempt > len(rig.statuses)]
    if again:
        row.problems.append(f"tried again, though it can only fail again: {again}")
    failed = [slot for slot in mine.values() if slot.state == "failed"]
    causes = sorted({getattr(slot, "cause", "") or "none" for slot in failed})
    row.notes.append(f"Slots of the broken strategy that failed: {len(failed)} of {len(mine)}, cause: {causes}.")


def _all_failed(rig: Rig, row: Row) -> None:
    _failed_without_retry(rig, row)
    if any(n.startswith("plugin/") and s.state == "finished" for n, s in rig.slots().items()):
        row.problems.append("a run of the broken strategy counts as finished")


def _stopped_early(rig: Rig, row: Row) -> None:
    _failed_without_retry(rig, row)
    if "the same error in 3 cells" not in rig.said(1):
        row.problems.append("the sweep was not stopped after three cells")


def _trained_with_less(rig: Rig, row: Row) -> None:
    mine = {name: slot for name, slot in rig.slots().items() if name.startswith("plugin/")}
    unfinished = [name for name, slot in mine.items() if slot.state not in ("finished", "stopped")]
    if unfinished or not mine:
        row.problems.append(f"not finished with a smaller micro-batch: {unfinished or 'no slot at all'}")
    attempts = sorted({slot.attempt for slot in mine.values()})
    row.notes.append(f"Slots of the strategy that finished: {len(mine) - len(unfinished)} of {len(mine)}, {attempts=}.")


def _split_to_the_end(rig: Rig, row: Row) -> None:
    """Every size of the micro-batch is tried once, and no size twice."""
    mine = {name: slot for name, slot in rig.slots().items() if name.startswith("plugin/")}
    others = [name for name, slot in mine.items() if slot.state != "failed" or slot.cause != "out_of_memory"]
    if others or not mine:
        row.problems.append(f"not failed by lack of memory: {others or 'no slot at all'}")
    parts = sorted({slot.micro_batches for slot in mine.values()})
    too_often = [name for name, slot in mine.items() if 2 ** (slot.attempt - 1) != slot.micro_batches]
    if too_often:
        row.problems.append(f"attempts and parts do not agree: {too_often}")
    if parts != [BATCH]:
        row.problems.append(f"given up with {parts} parts of a batch of {BATCH}")
    row.notes.append(f"Slots of the strategy that failed: {len(mine) - len(others)} of {len(mine)}; {parts=}.")


FAULTS = (
    Fault(
        name="nan-loss",
        title="NaN loss",
        how="a strategy of the user's whose logits become NaN after 10 training steps, beside three healthy ones",
        told=r"training loss is nan",
        plugins=("nan_loss",),
        ends=(1,),
        goes_on=False,
        check=_all_failed,
    ),
    Fault(
        name="out-of-memory",
        title="out of memory, half the batch fits",
        how=f"a strategy that takes 8 MiB a sample of its batch of 256; execution.{MEMORY_SETTING}={LIMIT_GIB}",
        told=r"out_of_memory.*twice as many parts",
        plugins=("hungry",),
        overrides=(f"execution.{MEMORY_SETTING}={LIMIT_GIB}",),
        check=_trained_with_less,
    ),
    Fault(
        name="out-of-memory-for-good",
        title="out of memory at any batch size",
        how=f"a strategy that takes 6 GiB in every step; execution.{MEMORY_SETTING}={LIMIT_GIB}",
        told=r"[Oo]ut of memory|OutOfMemory|MemoryError|allocate memory",
        plugins=("insatiable",),
        overrides=(f"execution.{MEMORY_SETTING}={LIMIT_GIB}",),
        ends=(1,),
        goes_on=False,
        check=_split_to_the_end,
    ),
    Fault(
        name="over-time-limit",
        title="run over its time limit",
        how="a strategy with a pause of 1 s in every step; execution.run_time_limit_s=8",
        told=r"execution.run_time_limit_s",
        plugins=("slow",),
        overrides=("execution.run_time_limit_s=8",),
        ends=(1,),
        goes_on=False,
        check=_all_failed,
    ),
    Fault(
        name="strategy-raises",
        title="a strategy raises in build",
        how="a strategy of the user's that raises ValueError in `build`, beside three healthy ones; later mended",
        told=r"mat1 and mat2 shapes cannot be multiplied",
        prepare=_break_the_plugin,
        mend=_mend_the_plugin,
        plugins=("raises",),
        ends=(1,),
        check=_failed_without_retry,
    ),
    Fault(
        name="same-error-everywhere",
        title="the same error in cell after cell",
        how="a grid of four cells of a strategy that raises in `build`; then it is mended, and all cells are asked for",
        told=r"the same error in 3 cells in a row",
        prepare=_break_it_in_three_cells,
        mend=_mend_and_ask_for_all,
        plugins=("raises",),
        closed=0,
        ends=(1,),
        check=_stopped_early,
    ),
)
