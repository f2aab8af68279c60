"""What pseudo-RGB pictures really show, for the notes of a report."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.plan.planned import PlannedCell
from strategies._base import StrategyError
from strategies._rgb import choose_rgb

VISIBLE_NM = (380.0, 750.0)


def pseudo_rgb_notes(cells: Iterable[PlannedCell]) -> list[str]:
    """A sentence for each data set and choice of three bands of which one lies where no eye sees."""
    found: dict[str, None] = {}
    for planned in cells:
        fields, facts = planned.cell.strategy.fields, planned.facts
        centres_nm = facts.wavelengths_nm
        if "rgb_bands" not in fields or fields.get("input", "pseudo_rgb") != "pseudo_rgb" or centres_nm is None:
            continue
        try:
            bands = choose_rgb(facts.num_bands, centres_nm, str(fields["rgb_bands"]))
        except StrategyError:  # its cell is blocked, and says why
            continue
        shown_nm = [centres_nm[band] for band in bands]
        if all(VISIBLE_NM[0] <= centre <= VISIBLE_NM[1] for centre in shown_nm):
            continue
        kind = "near-infrared false colour" if min(shown_nm) > VISIBLE_NM[1] else "false colour"
        found[
            f"{facts.name}: the pseudo-RGB bands {','.join(map(str, bands))} lie at "
            f"{', '.join(f'{centre:.0f}' for centre in shown_nm)} nm: {kind}, no picture as an eye sees it."
        ] = None
    return list(found)
