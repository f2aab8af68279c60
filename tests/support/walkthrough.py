"""Follows a Markdown document literally: writes its files, runs its commands, and looks for the output it promises.

In a fenced block, the language says what happens:

    bash                  is run, by `bash -euo pipefail`, in the folder of the walk
    text                  after a bash block: each line has to occur in what that block printed; ... stands for anything
    python, yaml, toml    its first line is `# file: NAME`: the block is written to that file, as it is

Anything else is an error, so that nothing in a walk-through goes untested by accident.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

FENCE = re.compile(r"^```(\S*)\s*\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^(#+) +(.+)$")
FILE_LINE = re.compile(r"^# file: (\S+)$")
WRITTEN = ("python", "yaml", "toml")
OUTSIDE = ("HSFM_DATA_ROOT", "MLFLOW_TRACKING_URI", "RAY_ADDRESS")
"""Settings of whoever walks that a new user would not have."""


class WalkError(Exception):
    """The document cannot be followed; the text says where and why."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One block of a document."""

    where: str
    """Document and line."""
    heading: str
    command: str = ""
    """Shell text to run, or empty where a file is written."""
    file: str = ""
    content: str = ""
    promised: tuple[str, ...] = ()
    """Lines that the output has to hold."""


@dataclass(frozen=True, kw_only=True)
class Walked:
    """A step that was taken."""

    step: Step
    seconds: float
    output: str = field(default="", repr=False)


def read_steps(document: Path, section: str | None = None) -> list[Step]:
    """The steps of a document, or of one section: a heading and all below it.

    Raises:
        WalkError: no such section, or a block that says neither what to run nor where to write.
    """
    text = document.read_text(encoding="utf-8")
    steps: list[Step] = []
    for match in FENCE.finditer(text):
        headings = _headings(text[: match.start()])
        if section is not None and section not in headings:
            continue
        language, body = match[1], match[2]
        where = f"{document.name}:{text.count(chr(10), 0, match.start()) + 1}"
        named = FILE_LINE.match(body.split("\n", 1)[0])
        step = Step(where=where, heading=headings[-1] if headings else "")
        if language == "bash":
            steps.append(replace(step, command=body))
        elif language == "text" and steps and steps[-1].command and not steps[-1].promised:
            steps[-1] = replace(steps[-1], promised=tuple(line for line in body.splitlines() if line.strip()))
        elif language in WRITTEN and named:
            steps.append(replace(step, file=named[1], content=body))
        else:
            raise WalkError(
                f"{where}: a block of {language or 'no language'}; a walk-through takes bash, text after bash, and "
                f"{', '.join(WRITTEN)} with a first line '# file: NAME'"
            )
    if not steps:
        raise WalkError(f"{document.name} has no steps{f' in the section {section!r}' if section else ''}")
    return steps


def _headings(before: str) -> list[str]:
    """Titles of the headings that a place is under, the outermost first."""
    open_ones: list[tuple[int, str]] = []
    for line in FENCE.sub("", before).splitlines():
        match = HEADING.match(line)
        if match:
            level = len(match[1])
            open_ones = [*(one for one in open_ones if one[0] < level), (level, match[2].strip())]
    return [title for _, title in open_ones]


def clean_environment(folder: Path, **more: str) -> dict[str, str]:
    """The environment of a new user: the commands of this installation, an empty cache, and no settings."""
    kept = {key: value for key, value in os.environ.items() if key not in OUTSIDE}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "PATH": path, "HSFM_CACHE": str(folder / ".cache"), **more}


def walk(steps: list[Step], folder: Path, environment: Mapping[str, str], *, limit_s: float = 300) -> Iterator[Walked]:
    """Take the steps one after another in a folder.

    Raises:
        WalkError: a command that fails or takes too long, or a promised line that it does not print.
    """
    for step in steps:
        start = time.perf_counter()
        output = ""
        if step.file:
            target = folder / step.file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(step.content, encoding="utf-8")
        else:
            output = _run(step, folder, environment, limit_s)
            _check_promises(step, output)
        yield Walked(step=step, seconds=time.perf_counter() - start, output=output)


def _run(step: Step, folder: Path, environment: Mapping[str, str], limit_s: float) -> str:
    process = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", step.command],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired as error:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        raise WalkError(f"{step.where}: longer than {limit_s:.0f} s\n{step.command}\n{output}") from error
    if process.returncode:
        raise WalkError(f"{step.where}: ended with {process.returncode}\n{step.command}\n{output}")
    return output


def _check_promises(step: Step, output: str) -> None:
    printed = [" ".join(line.split()) for line in output.splitlines()]
    for promise in step.promised:
        parts = [re.escape(" ".join(part.split())) for part in promise.split("...")]
        wanted = re.compile(r".*".join(parts))
        if not any(wanted.search(line) for line in printed):
            raise WalkError(
                f"{step.where}: the line {promise!r} is promised, but not printed by\n{step.command}\n{output}"
            )
