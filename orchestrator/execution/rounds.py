"""Rounds and rungs of one study: which trials are drawn together, which stop at a rung. Never acts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from orchestrator.config import SearchConfig
from orchestrator.execution import studies
from orchestrator.execution.cell_state import SELECTION, CellState, number_of, search_slot
from orchestrator.ledger.records import SlotRecord
from orchestrator.plan.slots import search_spec


def draw(state: CellState, fold: int, numbers: Sequence[int], search: SearchConfig) -> list[SlotRecord]:
    """New records of a round's trials that have none yet; all of a round is drawn before any of it starts."""
    names = {number: search_slot(fold, number) for number in numbers}
    if all(name in state.slots for name in names.values()):
        return []
    planned = state.planned
    if planned.template is None:
        raise ValueError(f"cell {planned.cell} has no run specification before its data set is prepared")
    params = studies.draw_round(
        # these candidates are the same on every scene and fold: they are scored together
        cell_id=planned.candidates_id or state.cell_id,
        fold=0 if planned.candidates_id else fold,
        numbers=numbers,
        past=[state.slots[search_slot(fold, number)] for number in range(numbers[0])],
        drawn={number: state.slots[name].params for number, name in names.items() if name in state.slots},
        defaults={name: planned.template.fields[name] for name in planned.space},
        space=planned.space,
        sampler="random" if planned.candidates_id else search.sampler,
        round_size=search.round,
    )
    records = []
    for number, name in names.items():
        if name in state.slots:
            continue
        key = search_spec(planned, fold, number, params[number]).key
        twin = state.of_key(key)
        if twin is not None:  # the same training again: told the same value, never trained twice
            records.append(twin.with_(slot=name, params=params[number]))
        else:
            records.append(SlotRecord(slot=name, key=key, params=params[number], attempt=0))
    return records


def stopped_at_rung(state: CellState, fold: int, search: SearchConfig) -> list[tuple[str, str]]:
    """(key, reason) of the trials that stop, once every running trial of the open round stands at the same rung."""
    numbers = state.open_round(fold, search.round)
    if numbers is None:
        return []
    running = state.running(fold, numbers)
    steps = {record.reached_step for record in running}
    if len(steps) != 1 or (step := steps.pop()) not in state.rungs or step == state.rungs[-1]:
        return []
    # Those that a kill let be stopped already at this very rung took part in the decision: count them again.
    drawn = [state.slots[search_slot(fold, n)] for n in numbers if search_slot(fold, n) in state.slots]
    stopped = [record for record in drawn if record.state == "stopped" and record.reached_step == step]
    judged = {record.key: record for record in [*stopped, *running]}
    scores = {number_of(r.slot): r.scores.get(SELECTION, -math.inf) for r in judged.values()}
    keep = studies.going_on(scores, search.reduction)
    bar = min(scores[number] for number in keep)
    rule = f"rung at step {step}: the best {len(keep)} of {len(scores)} go on"
    return [
        (record.key, f"{rule}; its validation {search.metric} {scores[number_of(record.slot)]:.4f} is behind {bar:.4f}")
        for record in running
        if number_of(record.slot) not in keep
    ]
