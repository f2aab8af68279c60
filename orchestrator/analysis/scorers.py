"""Scores by name, or from a user's own file, worked out from the confusion matrices that final runs left behind.

No model, no data set and no training is needed: only a row of the results table.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.analysis.schema import COLUMNS
from orchestrator.errors import ConfigError, unknown
from orchestrator.metrics import (
    ALIASES,
    COMPAT_METRICS,
    FURTHER_METRICS,
    METRICS,
    compat_scores,
    further_scores,
    scores,
)

Confusion = npt.NDArray[np.int64]
Function = Callable[[Confusion, Sequence[int], Sequence[str]], float | None]
BUILT_IN = (*METRICS, *FURTHER_METRICS)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """One score of a confusion matrix."""

    name: str
    function: Function
    """From counts (rows = target), the classes that count, and class names; None = not defined.

    Counts are `[K, K]`; of runs with `train.undefined_output` `[K + 1, K + 1]`, the last column predicted as undefined.
    """

    def score(self, confusion: npt.ArrayLike, classes: Sequence[int], class_names: Sequence[str]) -> float | None:
        """The score of one matrix; None where it is not defined."""
        return self.function(np.asarray(confusion, dtype=np.int64), classes, class_names)


def built_in(name: str) -> Scorer:
    """A score of the tool's own, by its name or one of its other names.

    Raises:
        ConfigError: unknown name.
    """
    own = ALIASES.get(name, name)
    if own in COMPAT_METRICS:  # over all classes of the data set, whatever counts elsewhere
        return Scorer(name=own, function=lambda counts, _, names: compat_scores(counts, len(names)).get(own))
    if own not in BUILT_IN:
        raise unknown(
            "metric",
            name,
            (*BUILT_IN, *COMPAT_METRICS, *ALIASES),
            hint="A metric of your own: hsfm-sweep rescore --metric-file FILE.py.",
        )
    source = scores if own in METRICS else further_scores
    return Scorer(name=own, function=lambda counts, classes, _: source(counts, classes).get(own))


def from_file(path: Path) -> Scorer:
    """A user's own metric: a file with `score(confusion_KK, class_names) -> float`; its name is the file's.

    The file is run: it must be trusted, as a plugin must. `confusion_KK` is an int64 array with rows = target over all
    classes of the data set (of runs with `train.undefined_output` one more: the last column holds pixels predicted as
    undefined, the last row is empty). None, NaN and infinity mean "not defined".

    Raises:
        ConfigError: no such file, a name that is taken or no name, no function `score`, or a file that fails.
    """
    name = path.stem
    if path.suffix != ".py" or not path.is_file():
        raise ConfigError(f"metric file {str(path)!r} is not a Python file; allowed: FILE.py with a function score")
    if not _NAME.fullmatch(name) or name in _taken():
        why = "is a name of the results table already" if name in _taken() else "cannot be a metric's name"
        raise ConfigError(
            f"metric file {str(path)!r}: {name!r} {why}; allowed: small letters, digits and _, at most 60, and none of "
            f"{', '.join(sorted(_taken()))}; rename the file"
        )
    specification = importlib.util.spec_from_file_location(f"hsfm_metric_{name}", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
    except Exception as error:  # whatever a user's file does wrong
        raise ConfigError(f"metric file {path} cannot be run: {type(error).__name__}: {error}; correct it") from error
    function = getattr(module, "score", None)
    if not callable(function):
        raise ConfigError(f"metric file {path} has no function score(confusion_KK, class_names) -> float; add it")
    return Scorer(name=name, function=_guarded(path, function))


def final_score(run: Mapping[str, Any], scorer: Scorer, *, headline: bool = True) -> float | None:
    """The score of a final run over all its test images or blocks; None where it has none.

    Args:
        run: a row of the results table.
        scorer: the score.
        headline: over the data set's headline classes, where it names any; else over all scored classes.
    """
    if not run["units"]:
        return None
    classes = headline_classes(run) if headline else run["scored_classes"]
    return scorer.score(unit_counts(run).sum(axis=0), classes, run["class_names"])


def unit_counts(run: Mapping[str, Any]) -> Confusion:
    """Counts `[units, K, K]` of the test images or blocks of a final run; K + 1 with `train.undefined_output`."""
    return np.asarray([unit["confusion"] for unit in run["units"]], dtype=np.int64)


def headline_classes(run: Mapping[str, Any]) -> list[int]:
    """Class indices that a comparison's scores run over: the headline classes, or all that are in the test split."""
    if run["headline_classes"]:
        return [run["class_names"].index(name) for name in run["headline_classes"]]
    return list(run["scored_classes"])


def _taken() -> set[str]:
    """Names that a user's metric would hide: scores of the tool, and columns `test_<name>` of the results table."""
    columns = {column.name.removeprefix("test_") for column in COLUMNS if column.name.startswith("test_")}
    return {*columns, *BUILT_IN, *COMPAT_METRICS, *ALIASES, "headline_miou"}


def _guarded(path: Path, function: Callable[..., Any]) -> Function:
    def score(counts: Confusion, classes: Sequence[int], class_names: Sequence[str]) -> float | None:  # noqa: ARG001
        try:
            value = function(counts.copy(), list(class_names))
            number = None if value is None else float(value)
        except Exception as error:  # whatever a user's function does wrong
            raise ConfigError(
                f"score of {path} failed on a confusion matrix of {len(class_names)} classes: "
                f"{type(error).__name__}: {error}; allowed: one number, or None where it is not defined; correct it"
            ) from error
        return number if number is not None and np.isfinite(number) else None

    return score
