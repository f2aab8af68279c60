"""What a chaos run prints and keeps: a line a kill, then the figures; all of it measured."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tests.chaos.shake import Shaken
from tests.chaos.strike import Hit
from tests.chaos.work import Cost

MOST_DIFFERENCES = 40
_SPEAKS = re.compile(r"attempt \d+ failed|^hsfm-sweep:|interrupted|left RUNNING|found in the spool")


def head() -> str:
    return f"{'#':>3} {'at s':>6}  {'kind':<7} {'moment':<9} {'stage':<13} {'hit':<24} in flight"


def hit_line(hit: Hit, at_s: float) -> str:
    """One kill, as soon as it is proven."""
    pids = ",".join(map(str, hit.pids))
    runs = "; ".join(_short(run.slot) + (f" step {run.step}" if run.step else "") for run in hit.in_flight)
    ended = f"{pids}, gone {hit.gone_after_s:.2f} s" if hit.status is None else f"{pids}, exit {hit.status}"
    where = f"{hit.kind:<7} {hit.plan.moment:<9} {hit.stage:<13}"
    return f"{hit.plan.number:>3} {at_s:>6.1f}  {where} {ended:<24} {runs or '-'}"


def _short(slot: str) -> str:
    return slot.split("/", 1)[-1]


def table(shaken: Shaken, costs: Sequence[Cost]) -> list[str]:
    """Cost and reaction of every kill, and what the user was told."""
    rows = [f"{'#':>3} {'kind':<7} {'progress after':>14} {'steps again':>18} {'orphans':>16}  told"]
    for hit, cost in zip(shaken.hits, costs, strict=True):
        again = f"{sum(x.repeated for x in cost.losses)} of at most {sum(x.limit for x in cost.losses)}"
        fits = f" +{len(cost.fits)} fit" if cost.fits else ""
        reaction = f"{cost.reaction_s:.1f} s" if cost.reaction_s is not None else "-"
        orphans = f"{len(cost.orphans)} for {max(cost.orphans.values()):.1f} s" if cost.orphans else "-"
        told = _told(hit.said)[:160]
        rows.append(f"{hit.plan.number:>3} {hit.kind:<7} {reaction:>14} {again + fits:>18} {orphans:>16}  {told}")
    return rows


def _told(said: Sequence[str]) -> str:
    """The line that speaks of the kill, else the last one."""
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in said]
    return next((line for line in plain if _SPEAKS.search(line)), plain[-1] if plain else "")


def summary(shaken: Shaken, costs: Sequence[Cost], problems: Sequence[str], asked: int) -> list[str]:
    """The figures of the whole run, what was wrong, and the verdict."""
    kinds, stages = Counter(h.kind for h in shaken.hits), Counter(h.stage for h in shaken.hits)
    reactions = sorted(c.reaction_s for c in costs if c.reaction_s is not None)
    all_losses = [loss for cost in costs for loss in cost.losses]
    exits = _counted(Counter(status for _, status in shaken.ends))
    repeated = [loss.repeated for loss in all_losses]
    lines = [
        f"kills:      {len(shaken.hits)} of {asked} ({_counted(kinds)})",
        f"stages:     {_counted(stages)}",
        f"command:    {len(shaken.ends)} starts in {shaken.ended_s - shaken.began_s:.0f} s; exits {exits}",
        f"steps:      {sum(repeated)} done again, {sum(x.limit for x in all_losses)} were in no checkpoint; most for "
        f"one run {max(repeated, default=0)}; fits again: {sum(len(c.fits) for c in costs)}",
    ]
    if reactions:
        middle = reactions[len(reactions) // 2]
        lines.append(f"progress:   again after {reactions[0]:.1f} to {reactions[-1]:.1f} s, median {middle:.1f} s")
    orphaned = [c for c in costs if c.orphans]
    if orphaned:
        longest_s = max(max(c.orphans.values()) for c in orphaned)
        lines.append(
            f"orphans:    up to {max(len(c.orphans) for c in orphaned)} processes outlived a kill by up to "
            f"{longest_s:.1f} s; they took {sum(c.orphan_steps for c in orphaned)} steps, the last one "
            f"{max(c.orphan_training_s for c in orphaned):.1f} s after the kill; left at the end: {len(shaken.left)}"
        )
    lines += [f"problem:    {text}" for text in problems[:MOST_DIFFERENCES]]
    if len(problems) > MOST_DIFFERENCES:
        lines.append(f"            and {len(problems) - MOST_DIFFERENCES} more")
    return lines


def _counted(counts: Counter[Any]) -> str:
    return ", ".join(f"{name} x{count}" for name, count in sorted(counts.items(), key=lambda x: str(x[0])))


def problems_of(shaken: Shaken, costs: Sequence[Cost], asked: int) -> list[str]:
    """Broken promises beside the comparison: of ends, of work done again, of what is left behind."""
    found = [shaken.error] if shaken.error else []
    if len(shaken.hits) < asked:
        found.append(f"only {len(shaken.hits)} of {asked} kills fell")
    found += shaken.unexpected
    for hit, cost in zip(shaken.hits, costs, strict=True):
        found += [
            f"kill {hit.plan.number} ({hit.kind}): {loss.slot} did {loss.repeated} steps again, its newest checkpoint "
            f"(step {loss.checkpoint} of {loss.reached}) allows {loss.limit}"
            for loss in cost.losses
            if not loss.is_within
        ]
    found += [f"{seen} was still there after the end" for seen in shaken.left]
    return found


def as_json(
    shaken: Shaken, costs: Sequence[Cost], problems: Sequence[str], differences: Sequence[str]
) -> dict[str, Any]:
    """Everything as plain data."""
    kills = []
    for hit, cost in zip(shaken.hits, costs, strict=True):
        kills.append(
            {
                "number": hit.plan.number,
                "kind": hit.kind,
                "moment": hit.plan.moment,
                "at_s": round(hit.at_s - shaken.began_s, 2),
                "pids": list(hit.pids),
                "stage": hit.stage,
                "in_flight": [{**vars(run), "pids": list(run.pids)} for run in hit.in_flight],
                "closed_before": len(hit.closed),
                "gone_after_s": round(hit.gone_after_s, 3),
                "status": hit.status,
                "reaction_s": cost.reaction_s,
                "losses": [{**vars(loss), "limit": loss.limit} for loss in cost.losses],
                "fits_again": cost.fits,
                "orphans": cost.orphans,
                "orphan_steps": cost.orphan_steps,
                "orphan_training_s": round(cost.orphan_training_s, 1),
                "said": hit.said,
            }
        )
    return {
        "kills": kills,
        "seconds": round(shaken.ended_s - shaken.began_s, 1),
        "exits": [status for _, status in shaken.ends],
        "left": [str(seen) for seen in shaken.left],
        "problems": list(problems),
        "differences": list(differences),
        "identical": not differences,
    }
