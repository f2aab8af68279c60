"""What `hsfm-sweep data audit` looks at: one task, seen with the receptive field of each strategy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from orchestrator.datasets.locations import DataLocations
from orchestrator.errors import ConfigError
from orchestrator.plan.cells import LabelBudget
from orchestrator.plan.choices import instantiate, parse_entry
from orchestrator.plan.selection import resolve_selection

if TYPE_CHECKING:
    from orchestrator.datasets.audit import AuditReport


def audits(
    name: str,
    strategies: Sequence[str],
    locations: DataLocations,
    *,
    labels: str,
    split: str,
    selection: str,
    fold: int,
    seed: int,
    debug: bool = False,  # noqa: ARG001 - read by `main` from the arguments
) -> list[tuple[str, AuditReport]]:
    """Who looks, and the report for it; without strategies a single pixel's view.

    Raises:
        ConfigError: an unknown name, or a task that the data set cannot give.
        DataError: the data set cannot be prepared.
    """
    from orchestrator.datasets.audit import audit
    from orchestrator.datasets.prepare import prepare
    from orchestrator.datasets.store import open_prepared
    from orchestrator.datasets.tasks import draw_task, selection_of_run

    views = {choice.label: instantiate(choice).receptive_field_px for s in strategies for choice in parse_entry(s)}
    budget = LabelBudget.parse(_as_yaml(labels))
    source = selection_of_run(resolve_selection(selection, budget), "search")
    prepared = open_prepared(prepare(name, locations))
    task = draw_task(prepared, split=split, fold=fold, label_budget=budget, selection=source, subset_seed=seed)
    return [(who, audit(prepared, task, size)) for who, size in (views or {"a single pixel": 1}).items()]


def _as_yaml(labels: str) -> Any:
    try:
        given = OmegaConf.to_container(OmegaConf.create(f"labels: {labels}"))
    except (YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(
            f"label budget {labels!r} is not valid YAML; allowed: a fraction in (0, 1], or '{{k_shot: N}}'; "
            "mend --labels"
        ) from error
    return given["labels"] if isinstance(given, dict) and len(given) == 1 else labels
