"""Names of weights, as the verbs of `hsfm-sweep weights` take them."""

from __future__ import annotations

from orchestrator.datasets.locations import DataLocations
from orchestrator.errors import ConfigError, unknown
from orchestrator.plan.facts import WeightsStatus


def check_name(name: str) -> None:
    """Refuse a name that no datasheet has, and that is none of timm's.

    Raises:
        ConfigError: with the nearest name.
    """
    from strategies._checks import StrategyError
    from strategies.backbones._specs import TIMM, get_spec, list_weights

    if name in list_weights():
        return
    if not name.startswith(TIMM):
        raise unknown("weights", name, list_weights(), hint="See `hsfm-sweep weights list`.")
    try:
        get_spec(name)
    except StrategyError as error:
        raise ConfigError(str(error)) from error


def status_of(name: str, locations: DataLocations) -> WeightsStatus:
    """Where a file is, whether or not its licence was accepted: looking is not using."""
    from strategies.backbones._places import locate

    found = locate(name, locations.data_root, locations.cache)
    return WeightsStatus(name=name, sha256=found.sha256, path=found.path, reason=found.reason, remedy=found.remedy)
