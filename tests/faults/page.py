"""docs/faults.md from rows."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence

from tests.faults.rows import MEANINGS, Row, verdict, violations

HEADER = """# Faults

What becomes of a sweep when something breaks, measured. This page is written by a command that injects every fault into
a real sweep through the real command line, lets it go on, and compares it with the same sweep undisturbed:

```bash
{command}
```

{facts}

How to read it:

- **lost**: runs that were finished when the fault struck and are not finished by the same attempt after it; must be 0.
- **repeated**: optimiser steps that were made twice, of those that no checkpoint held when an attempt ended. Networks
  only; a scikit-learn fit has no checkpoint and is fitted again.
- **exit**: status of each command, in order. {statuses}
- **went on**: by itself, or with the same command again.
- **same**: runs whose key, state, step, every score and every parameter are those of the undisturbed sweep.
- **seconds**: from the fault, or from the start of the command that went on, to the next optimiser step (of a new
  process, where the fault ended the old ones).
"""
COLUMNS = ("fault", "injected", "lost", "repeated", "exit", "went on", "same", "seconds", "what the user was told")


def page(rows: Sequence[Row], command: str) -> str:
    """The whole page as Markdown."""
    statuses = "; ".join(f"{status} = {text}" for status, text in MEANINGS.items())
    parts = [HEADER.format(command=command, facts=_facts(rows), statuses=statuses)]
    parts.append(table(rows))
    parts.append("\n## One by one\n")
    for row in rows:
        parts.append(_details(row))
    return "\n".join(parts).rstrip() + "\n"


def table(rows: Sequence[Row]) -> str:
    """The matrix as a Markdown table."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _facts(rows: Sequence[Row]) -> str:
    ran = [row for row in rows if not row.not_run]
    good = sum(verdict(row) == "ok" for row in ran)
    days = sorted({row.when[:10] for row in ran})
    commits = list(dict.fromkeys(row.commit for row in ran))
    minutes = sum(row.seconds for row in ran) / 60
    return (
        f"Measured {' to '.join(dict.fromkeys((days[0], days[-1]))) if days else 'never'} at commit "
        f"{', '.join(commits) or 'none'}, on {os.cpu_count()} CPU cores ({platform.machine()}, "
        f"Python {platform.python_version()}), {minutes:.0f} minutes in all. "
        f"All guarantees hold for {good} of {len(rows)} faults; "
        f"{sum(verdict(row) == 'violated' for row in rows)} break one, {len(rows) - len(ran)} were not run."
    )


def _cells(row: Row) -> tuple[str, ...]:
    if row.not_run:
        return (row.title, row.how, *["-"] * 6, f"not run: {row.not_run}")
    same = f"{row.same_slots} of {row.same_slots + len(row.other_slots)}"
    return (
        row.title if not violations(row) else f"{row.title} **(violated)**",
        row.how,
        f"{len(row.lost)} of {row.finished_before}",
        f"{row.steps_repeated} of {row.steps_allowed}",
        ", then ".join(map(str, row.statuses)),
        row.went_on,
        same,
        "-" if row.progress_s is None else f"{row.progress_s:.1f}",
        f"{_code(_short(row.told))} ({row.told_where})" if row.told else "nothing",
    )


def _short(text: str, limit: int = 160) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _code(text: str) -> str:
    return "`" + text.replace("`", "'").replace("|", "\\|") + "`"


def _details(row: Row) -> str:
    lines = [f"### {row.title}\n", f"- Injected (`--only {row.name}`): {row.how}"]
    if row.not_run:
        return "\n".join([*lines, f"- Not run: {row.not_run}\n"])
    lines.append(f"- Told, in full: {_code(row.told)}" if row.told else "- Told: nothing")
    lines += [f"- {note}" for note in row.notes]
    lines += [f"- **Violated:** {problem}" for problem in violations(row)]
    return "\n".join(lines) + f"\n- {row.when}, commit {row.commit}, {row.seconds:.0f} s\n"
