"""What a study draws and decides: Optuna draws a round at once, synchronous halving decides its rungs. Pure.

A study is one (cell, fold). Its Optuna study is rebuilt in memory from the recorded slots whenever a round is drawn:
the draw of trial n depends on (cell, fold, n) and on finished rounds only, never on the order of events, the number
of worker groups, or how often the sweep was killed.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.execution.streams import stream_seed
from orchestrator.ledger.records import SlotRecord
from orchestrator.plan.slots import survivors

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


def to_optuna(space: Mapping[str, Any]) -> dict[str, optuna.distributions.BaseDistribution]:
    """A strategy's plain distributions in Optuna's own.

    Raises:
        TypeError: a distribution that is neither Float, Int nor Categorical.
    """
    import optuna

    made: dict[str, optuna.distributions.BaseDistribution] = {}
    for name, d in space.items():
        match type(d).__name__:
            case "Float":
                made[name] = optuna.distributions.FloatDistribution(d.low, d.high, log=d.log)
            case "Int":
                made[name] = optuna.distributions.IntDistribution(d.low, d.high, log=d.log)
            case "Categorical":
                made[name] = optuna.distributions.CategoricalDistribution(d.choices)
            case other:
                raise TypeError(f"{name}: {other} is no distribution; use Float, Int or Categorical")
    return made


def draw_round(
    *,
    cell_id: str,
    fold: int,
    numbers: Sequence[int],
    past: Sequence[SlotRecord],
    drawn: Mapping[int, Mapping[str, Any]],
    defaults: Mapping[str, Any],
    space: Mapping[str, Any],
    sampler: str,
    round_size: int,
) -> dict[int, dict[str, Any]]:
    """Parameters of the trials `numbers`, one round.

    Args:
        cell_id: the cell.
        fold: the study's fold.
        numbers: trial numbers of the round.
        past: closed trials of all earlier rounds, in trial order.
        drawn: trials of this round that were recorded before a kill: they keep their parameters.
        defaults: the strategy's defaults, trial 0.
        space: the tuned fields.
        sampler: tpe or random.
        round_size: the first round is drawn at random (TPE has nothing to learn from yet).
    """
    import optuna
    from optuna.trial import TrialState, create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = to_optuna(space)
    study = optuna.create_study(direction="maximize")
    study.add_trials([_told(record, distributions) for record in past])
    params: dict[int, dict[str, Any]] = {}
    for number in numbers:
        if number in drawn:
            params[number] = dict(drawn[number])
        elif number == 0:
            params[number] = dict(defaults)
        else:
            study.sampler = _sampler(sampler, stream_seed("draw", cell_id, fold, number) % 2**32, round_size)
            params[number] = dict(study.ask(distributions).params)
            continue  # ask has left it in the study, running
        study.add_trial(
            create_trial(
                state=TrialState.RUNNING, params=_inside(params[number], distributions), distributions=distributions
            )
        )
    return params


def _sampler(name: str, seed: int, startup: int) -> optuna.samplers.BaseSampler:
    import optuna

    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup)


def _inside(params: Mapping[str, Any], distributions: Mapping[str, Any]) -> dict[str, Any]:
    return {name: params[name] for name in distributions}


def _told(record: SlotRecord, distributions: Mapping[str, Any]) -> FrozenTrial:
    """A closed slot as Optuna should see it: stopped is PRUNED with its score at the rung, failed is FAIL."""
    from optuna.trial import TrialState, create_trial

    params, score = _inside(record.params, distributions), record.scores.get("selection")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=UserWarning)
        if record.state == "finished" and score is not None:
            return create_trial(
                state=TrialState.COMPLETE, value=score, params=params, distributions=dict(distributions)
            )
        if record.state == "stopped" and score is not None:
            seen = {record.reached_step: score}
            return create_trial(
                state=TrialState.PRUNED, params=params, distributions=dict(distributions), intermediate_values=seen
            )
        return create_trial(state=TrialState.FAIL, params=params, distributions=dict(distributions))


def going_on(at_rung: Mapping[int, float], reduction: int) -> list[int]:
    """Trial numbers that go on from a rung: the best ones, ties by number."""
    order = sorted(at_rung, key=lambda n: (-at_rung[n], n))
    return sorted(order[: survivors(len(order), reduction)])


def winner(finished: Mapping[int, float]) -> int | None:
    """The finished trial with the highest validation score, ties by number; None where there is none."""
    return min(finished, key=lambda n: (-finished[n], n)) if finished else None
