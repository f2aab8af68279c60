"""What the test prints at its end: who trained what, what was repeated, what is wrong. Facts in, lines out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.ledger.records import SlotRecord
from tests.faults.training_log import Line, Repetition, repetition
from tests.three_hosts.told import Told

MOST_DIFFERENCES = 20


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt at a run: which host had which rank, and which steps it took."""

    slot: str
    attempt: int
    hosts: tuple[str, ...]
    """Host of each rank."""
    first: int
    last: int
    began_s: float
    ended_s: float
    saved: int
    """Step of its newest checkpoint; 0 = none."""

    @property
    def spans(self) -> bool:
        return len(set(self.hosts)) > 1


def attempts(lines: Mapping[str, Sequence[Line]], slots: Mapping[str, SlotRecord]) -> list[Attempt]:
    """All attempts in the order of their first steps; one that went on elsewhere after a rung is told in parts."""
    names: dict[str, str] = {}
    for name, record in sorted(slots.items()):
        names.setdefault(record.key, name)
    steps: dict[tuple[str, int], dict[int, list[tuple[Line, str]]]] = {}
    saved: dict[tuple[str, int], list[int]] = {}
    for host, of_host in lines.items():
        for line in of_host:
            run = (line.key, line.attempt)
            if line.kind == "saved":
                saved.setdefault(run, []).append(line.step)
            else:
                steps.setdefault(run, {}).setdefault(line.step, []).append((line, host))
    found = []
    for (key, attempt), by_step in steps.items():
        for hosts, part in _parts(by_step):
            times = [line.time_s for step in part for line, _ in by_step[step]]
            found.append(
                Attempt(
                    slot=names.get(key, key),
                    attempt=attempt,
                    hosts=hosts,
                    first=part[0],
                    last=part[-1],
                    began_s=min(times),
                    ended_s=max(times),
                    saved=max((n for n in saved.get((key, attempt), ()) if part[0] <= n <= part[-1]), default=0),
                )
            )
    return sorted(found, key=lambda a: a.began_s)


def _parts(by_step: Mapping[int, Sequence[tuple[Line, str]]]) -> list[tuple[tuple[str, ...], list[int]]]:
    """Steps in a row whose ranks were on the same hosts; of the last step before a cut one rank may be unknown."""
    parts: list[tuple[dict[int, str], list[int]]] = []
    for step in sorted(by_step):
        places = {line.rank: host for line, host in by_step[step]}
        if parts and places.items() <= parts[-1][0].items():
            parts[-1][1].append(step)
        else:
            parts.append((places, [step]))
    return [(tuple(places[rank] for rank in sorted(places)), part) for places, part in parts]


def repeated(lines: Mapping[str, Sequence[Line]]) -> Repetition:
    """Optimiser steps that were taken twice, against those that no checkpoint held."""
    return repetition(sorted(line for of_host in lines.values() for line in of_host))


def table(told: Told) -> list[str]:
    """Who trained what."""
    rows = [f"{'from s':>7} {'to s':>7}  {'run':<34} {'attempt':>7}  {'ranks on':<10} {'steps':>9} {'saved':>6}"]
    for a in attempts(told.lines, told.slots):
        ranks = " ".join(a.hosts)
        rows.append(
            f"{a.began_s - told.began_s:>7.1f} {a.ended_s - told.began_s:>7.1f}  {a.slot:<34} {a.attempt:>7}  "
            f"{ranks:<10} {f'{a.first}-{a.last}':>9} {a.saved or '-':>6}"
        )
    return rows


def problems(told: Told) -> list[str]:
    """Broken promises; none is the proof."""
    if told.error:
        return [told.error]
    found = []
    made = attempts(told.lines, told.slots)
    before = [a for a in made if a.began_s < told.cut_s]
    if not any(a.spans for a in before):
        found.append("no run was trained across hosts before the cut")
    late = [
        line
        for line in told.lines.get(told.cut_host, ())
        if line.kind == "saved" and told.cut_s + 1 < line.time_s < told.back_s
    ]
    if late:
        found.append(f"the host that was cut off wrote {len(late)} checkpoints after the cut")
    if not any(told.cut_host in a.hosts and a.spans for a in made if a.began_s > told.back_s):
        found.append(f"{told.cut_host} trained nothing after it was back")
    again = repeated(told.lines)
    if again.steps > again.allowed:
        found.append(f"{again.steps} steps were done again; only {again.allowed} were in no checkpoint")
    if again.allowed == 0:
        found.append("the cut cost nothing: it did not fall into a training")
    found += [f"{process} outlived `ray down`" for process in told.left]
    if told.unlike is None:
        found.append("the results were not compared with one host")
    else:
        found += told.unlike
    return found


def summary(told: Told) -> list[str]:
    """The figures, what is wrong, and the verdict."""
    made, again = attempts(told.lines, told.slots), repeated(told.lines)
    runs = {(a.slot, a.attempt) for a in made}
    across = {(a.slot, a.attempt) for a in made if a.spans}
    wrong = problems(told)
    lines = [
        f"trained:   {len({a.slot for a in made})} runs in {len(runs)} attempts, {len(across)} of them across hosts",
        f"repeated:  {again.steps} optimiser steps; {again.allowed} were in no checkpoint at the cut",
    ]
    if told.lost_s:
        lines.append(f"noticed:   the cluster gave {told.cut_host} up {told.lost_s - told.cut_s:.0f} s after the cut")
    if told.unlike is not None:
        same = "identical" if not told.unlike else f"{len(told.unlike)} differences"
        lines.append(f"one host:  {same} (slots, winners, scores, every logged metric, the results table)")
    lines += [f"problem:   {text}" for text in wrong[:MOST_DIFFERENCES]]
    if len(wrong) > MOST_DIFFERENCES:
        lines.append(f"           and {len(wrong) - MOST_DIFFERENCES} more")
    return [*lines, f"verdict:   {'good' if not wrong else 'FAILED'}"]
