"""Whether a strategy can take a data set, from facts alone, and what is overridden where it can."""

from __future__ import annotations

from orchestrator.config import TrainConfig
from orchestrator.plan.facts import DatasetFacts
from orchestrator.plan.provenance import SYNTHETIC, SYNTHETIC_NOTE, used_weights
from strategies._base import Strategy, StrategyError
from strategies._checks import missing_packages
from strategies.backbones._weights import get_spec


def incompatibility(strategy: Strategy, facts: DatasetFacts) -> str:
    """Why `strategy` cannot take this data set: value and what is accepted; empty where it can."""
    missing = missing_packages(strategy)
    if missing:
        return missing
    accepts = strategy.accepts
    if accepts.quantities is not None and facts.quantity not in accepts.quantities:
        return f"{facts.name} holds {_words(facts.quantity)}; accepted: {_words(', '.join(accepts.quantities))}"
    if accepts.needs_wavelengths and facts.wavelengths_nm is None:
        why = f" ({facts.wavelengths_provenance})" if facts.wavelengths_provenance else ""
        return f"{facts.name} has no wavelengths{why}; band centres in nm are needed"
    outside = _outside(facts, accepts.wavelength_range_nm)
    if outside:
        low, high = accepts.wavelength_range_nm or (0.0, 0.0)
        first = outside[0]
        return (
            f"{len(outside)} of {facts.num_bands} bands of {facts.name} lie outside of {low:g}-{high:g} nm "
            f"(the first at {first:g} nm)"
        )
    highest = accepts.max_bands
    if facts.num_bands < accepts.min_bands or (highest is not None and facts.num_bands > highest):
        allowed = f"{accepts.min_bands} to {highest}" if highest is not None else f"at least {accepts.min_bands}"
        return f"{facts.name} has {facts.num_bands} bands; accepted: {allowed}"
    try:
        strategy.check_sensor(facts.num_bands, facts.wavelengths_nm)
    except StrategyError as error:
        return f"{facts.name}: {error}"
    return ""


def override_notes(strategy: Strategy, facts: DatasetFacts, train: TrainConfig, split: str) -> tuple[str, ...]:
    """What differs from the grid's settings for this strategy, in words: recorded and shown, never silent."""
    notes = []
    wanted = strategy.accepts.normalisation
    if wanted is not None and wanted != train.normalisation:
        notes.append(f"normalisation {wanted} instead of {train.normalisation}: the weights were made for it")
    if strategy.init == "synthetic":
        notes.append(SYNTHETIC_NOTE)
    beyond = _bands_beyond_pretraining(strategy, facts)
    if beyond:
        notes.append(beyond)
    if strategy.kind == "estimator" and train.world_size > 1:
        notes.append(f"one worker instead of {train.world_size}: scikit-learn does not use DDP")
    if split == "random":
        notes.append("random split: no search, its labels would be test labels of the finals; defaults are used")
    if facts.dropped_bands:
        notes.append(f"{len(facts.dropped_bands)} bands of the original files are not used")
    if facts.labels == "derived":
        notes.append("labels are derived by a model: never in aggregates or tests of significance")
    if facts.labels == "generated":
        notes.append("generated files: nothing that is measured on them says anything about the real data set")
    return tuple(notes)


def _bands_beyond_pretraining(strategy: Strategy, facts: DatasetFacts) -> str:
    """Bands that the weights never saw, in words; empty where there are none, or nobody has stated the range."""
    name = used_weights(strategy)
    if name is None or name.startswith(SYNTHETIC):
        return ""
    low_high = get_spec(name).wavelength_range_nm
    outside = _outside(facts, low_high)
    if not outside or low_high is None:
        return ""
    return (
        f"{len(outside)} of {facts.num_bands} bands of {facts.name} lie beyond what the weights saw in pretraining "
        f"({low_high[0]:g}-{low_high[1]:g} nm)"
    )


def _outside(facts: DatasetFacts, allowed: tuple[float, float] | None) -> list[float]:
    if allowed is None or facts.wavelengths_nm is None:
        return []
    return [centre for centre in facts.wavelengths_nm if not allowed[0] <= centre <= allowed[1]]


def _words(name: str) -> str:
    return name.replace("_", " ")
