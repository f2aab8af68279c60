"""Checks of what a strategy says about itself; for networks and estimators alike."""

from __future__ import annotations

import ast
import inspect
import pickle
import sys
from dataclasses import fields

from strategies._base import Categorical
from strategies.contract._subject import Subject, expect

HEAVY = ("torch", "torchvision", "timm", "sklearn", "scipy", "ray", "mlflow", "optuna")
MOST_TUNED = 4


def the_datasheet_is_complete(subject: Subject) -> None:
    strategy = subject.strategy
    instance = subject.make()
    expect(bool(strategy.summary), "summary is empty; give one line for lists and tables")
    expect(strategy.kind in ("network", "estimator"), f"kind is {strategy.kind!r}; expected network or estimator")
    expect(strategy.reference_step_s > 0, f"reference_step_s is {strategy.reference_step_s}; expected seconds, above 0")
    version = strategy.implementation_version
    expect(isinstance(version, int) and version >= 1, f"implementation_version is {version!r}; expected 1 or more")
    side = instance.receptive_field_px
    expect(
        side >= 1 and side % 2 == 1,
        f"receptive_field_px is {side}; expected an odd number: the pixel itself and as many on either side",
    )


def the_search_space_has_at_most_four_fields_and_holds_the_defaults(subject: Subject) -> None:
    for regime in subject.strategy.regimes:
        instance = subject.make(regime=regime)
        space = instance.space()
        expect(len(space) <= MOST_TUNED, f"{len(space)} fields are tuned under {regime}; expected at most {MOST_TUNED}")
        absent = set(space) - {f.name for f in fields(instance)}
        expect(
            not absent, f"search_space names {', '.join(sorted(absent))}, which is no field; add it to the dataclass"
        )
        for key, distribution in space.items():
            default = getattr(instance, key)
            if isinstance(distribution, Categorical):
                expect(default in distribution.choices, f"the default {key}={default!r} is not among its choices")
                continue
            low, high = distribution.low, distribution.high
            expect(low <= default <= high, f"the default {key}={default!r} lies outside of {low:g} to {high:g}")
            for end in (low, high):
                subject.make(regime=regime, **{key: end})


def it_survives_pickle(subject: Subject) -> None:
    instance = subject.make()
    expect(pickle.loads(pickle.dumps(instance)) == instance, "a copy by pickle is another; keep to plain fields")


def planning_imports_nothing_heavy(subject: Subject) -> None:
    # Top-level statements alone: what stands under `if TYPE_CHECKING` or inside a function costs a plan nothing.
    module = sys.modules[subject.strategy.__module__]
    found = set()
    for statement in ast.parse(inspect.getsource(module)).body:
        if isinstance(statement, ast.Import):
            found |= {alias.name.split(".")[0] for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
            found.add(statement.module.split(".")[0])
    heavy = ", ".join(sorted(found & set(HEAVY)))
    expect(not heavy, f"the module imports {heavy} at its top, which slows every plan; import inside of the function")


CHECKS = (
    the_datasheet_is_complete,
    the_search_space_has_at_most_four_fields_and_holds_the_defaults,
    it_survives_pickle,
    planning_imports_nothing_heavy,
)
