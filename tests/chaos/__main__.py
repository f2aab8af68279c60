"""`python -m tests.chaos --kills 20`: a real sweep under random kills, compared with an undisturbed one.

Ends with 0 if every kill fell, the shaken sweep ended exactly like the undisturbed one, and nothing was left behind.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.command import NAME, Command
from tests.chaos.compare import differences
from tests.chaos.schedule import ENDS_DRIVER, KINDS, draw_schedule
from tests.chaos.shake import Shaken, Shaking
from tests.chaos.strike import Hit
from tests.chaos.timeline import as_json, head, hit_line, problems_of, summary, table
from tests.chaos.watch import Watch
from tests.chaos.work import Cost, costs

SHORT = 6
"""Up to so many kills a shorter sweep gives room enough."""


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parse(arguments)
    if given.plan:
        for kill in draw_schedule(given.kills, given.kinds, given.seed):
            print(kill)
        return 0
    folder = Path(given.keep or tempfile.mkdtemp(prefix="hsfm-chaos-")).resolve()
    print(
        f"chaos: {given.kills} kills of {', '.join(given.kinds)}; seed {given.seed}; {given.groups} groups of "
        f"{given.world_size}; {given.steps} steps a run; in {folder}",
        flush=True,
    )
    calm = _undisturbed(folder, given)
    if calm is None:
        return 1
    shaken, found = _shaken(folder, given, calm)
    is_good = _conclude(folder, given, shaken, found)
    if is_good and not given.keep:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"kept:       {folder}")
    return 0 if is_good else 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="default: %(default)s; 4 is the short run")
    parser.add_argument("--seed", type=int, default=0, help="of kinds, moments and targets (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=45, help="limit of the shaken sweep (default: %(default)s)")
    parser.add_argument("--groups", type=int, default=2, help="worker groups (default: %(default)s)")
    parser.add_argument("--world-size", type=int, default=1, choices=(1, 2), help="workers a group (default: 1)")
    parser.add_argument("--steps", type=int, help="optimiser steps a run (default: 240; 120 up to 6 kills)")
    parser.add_argument("--kinds", type=_kinds, default=list(KINDS), help=f"default: {','.join(KINDS)}")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep both sweeps here; an undisturbed one is used again"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    parser.add_argument("--plan", action="store_true", help="print which kills would fall when, and start nothing")
    given = parser.parse_args(arguments)
    given.steps = given.steps or (240 if given.kills > SHORT else 120)
    return given


def _kinds(text: str) -> list[str]:
    given = [word for word in text.split(",") if word]
    if not given or (unknown := sorted(set(given) - set(KINDS))):
        raise argparse.ArgumentTypeError(f"kinds {unknown if given else text!r}; allowed: {', '.join(KINDS)}")
    return given


def _command(folder: Path, given: argparse.Namespace) -> Command:
    return Command(folder, uuid.uuid4().hex, steps=given.steps, world_size=given.world_size, groups=given.groups)


def _undisturbed(folder: Path, given: argparse.Namespace) -> Watch | None:
    """Run the sweep that nobody disturbs, or find it done in the kept folder; None where it fails."""
    command = _command(folder / "undisturbed", given)
    is_new = not (command.sweep / "report").exists()
    watch = Watch(command.sweep, command.steps_folder)
    began_s = time.time()
    command.start()
    assert command.process is not None
    status = command.process.wait()
    watch.look()
    if status != 0:
        print(f"the undisturbed sweep ended with {status}: {command.said_after((1, 0))[-3:]}")
        return None
    steps = sum(line.rank == 0 and line.kind == "step" for line in watch.lines)
    lasted = f"{time.time() - began_s:.0f} s" if is_new else "done before"
    keys = {record.key for record in watch.slots.values()}
    print(f"undisturbed: {lasted}, {len(keys)} runs, {steps} optimiser steps, each once", flush=True)
    return watch


def _shaken(folder: Path, given: argparse.Namespace, calm: Watch) -> tuple[Shaken, list[Cost]]:
    target = folder / f"shaken-{given.seed}"
    shutil.rmtree(target, ignore_errors=True)
    command = _command(target, given)
    shaking = Shaking(
        command,
        draw_schedule(given.kills, given.kinds, given.seed),
        seed=given.seed,
        limit_s=60 * given.minutes,
        total_work=calm.work_done(),
        total_slots=len(calm.slots),
        tell=_tell,
    )
    print(head(), flush=True)
    shaken = shaking.run()
    for hit, following in zip(shaken.hits, [*shaken.hits[1:], None], strict=True):
        said = command.said_after(hit.mark)
        if following is not None and following.mark[0] == hit.mark[0]:
            said = said[: len(said) - len(command.said_after(following.mark))]
        if hit.kind in ENDS_DRIVER:  # of a SIGKILL only the next start can tell
            said += command.said_after((hit.mark[0] + 1, 0))
        hit.said = said
    return shaken, costs(shaken.hits, shaking.watch.lines, shaking.watch.moments, shaking.watch.slots)


def _tell(hit: Hit, at_s: float) -> None:
    print(hit_line(hit, at_s), flush=True)


def _conclude(folder: Path, given: argparse.Namespace, shaken: Shaken, found: list[Cost]) -> bool:
    """Compare, print, and keep; whether all is as it has to be."""
    unlike: list[str] = []
    if not shaken.error:
        before = [hit.closed for hit in shaken.hits]
        unlike = differences(folder / "undisturbed" / NAME, folder / f"shaken-{given.seed}" / NAME, NAME, before)
    problems = problems_of(shaken, found, given.kills)
    print("\n".join(["", *table(shaken, found), "", *summary(shaken, found, [*problems, *unlike], given.kills)]))
    identical = not shaken.error and not unlike
    print(f"identical:  {'yes' if identical else 'no'}" + ("" if identical or not shaken.error else " (not done)"))
    if given.json:
        given.json.write_text(json.dumps(as_json(shaken, found, problems, unlike), indent=1))
    return identical and not problems


if __name__ == "__main__":
    sys.exit(main())
