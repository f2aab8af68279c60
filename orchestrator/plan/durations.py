"""Times as people read them."""

from __future__ import annotations

from datetime import datetime


def duration(seconds: float | None) -> str:
    """Seconds in the unit that reads best: "45 s", "12 min", "3.4 h", "2.1 d"."""
    if seconds is None:
        return "-"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 36 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} d"


def clock(time: datetime, now: datetime) -> str:
    """A time of the day where it is today's ("14:32"), else with its date ("Tue 24 Nov 14:32")."""
    return f"{time:%H:%M}" if time.date() == now.date() else f"{time:%a %d %b %H:%M}"
