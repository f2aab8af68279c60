"""Python and packages: against what pyproject.toml asks for, and against the set that was tested together."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet

import orchestrator
from orchestrator.upkeep.findings import Finding, Subject

DISTRIBUTION = "hsfm-sweep"
IMPORT_LIMIT_S = 60
_PAIR = ("torch", "torchvision")


@dataclass(frozen=True)
class Wishes:
    """What the project asks for."""

    python: str
    requirements: tuple[Requirement, ...]
    tested: Mapping[str, str]
    """Versions of constraints.txt by package; empty where the tool was installed without its sources."""


def read_wishes() -> Wishes:
    """From pyproject.toml and constraints.txt beside the package, else from the installed metadata."""
    root = Path(orchestrator.__file__).resolve().parent.parent
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        project = {}
    if project.get("name") == DISTRIBUTION:
        return Wishes(project["requires-python"], _parsed(project["dependencies"]), _pins(root / "constraints.txt"))
    metadata = importlib.metadata.metadata(DISTRIBUTION)
    return Wishes(metadata["Requires-Python"] or "", _parsed(importlib.metadata.requires(DISTRIBUTION) or ()), {})


def _parsed(texts: Iterable[str]) -> tuple[Requirement, ...]:
    found = (Requirement(text) for text in texts)
    return tuple(one for one in found if one.marker is None or one.marker.evaluate({"extra": ""}))


def _pins(path: Path) -> dict[str, str]:
    try:
        text = path.read_text()
    except OSError:
        return {}
    return {_plain(name): version for name, version in re.findall(r"^([\w.\-]+)==(\S+)", text, re.MULTILINE)}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def packages(_: Subject) -> Iterator[Finding]:
    """Python, every direct dependency, and the pair that is built for each other."""
    wishes = read_wishes()
    python = platform.python_version()
    if wishes.python and not SpecifierSet(wishes.python).contains(python, prereleases=True):
        mend = "make a new environment with an allowed Python: python3.11 -m venv .venv"
        yield Finding("Python", "failure", f"Python {python}; allowed: {wishes.python}", mend)
    else:
        yield Finding("Python", "ok", f"Python {python}")
    bad, good = [], 0
    for requirement in wishes.requirements:
        problem = _problem(requirement)
        if problem:
            bad.append(Finding("package", "failure", problem, f"pip install {_quoted(requirement)}"))
        else:
            good += 1
    yield from bad
    if good:
        names = ("torch", "torchvision", "ray", "mlflow", "optuna")
        shown = ", ".join(f"{name} {_version(name)}" for name in names if _version(name))
        yield Finding("packages", "ok", f"{good} of {len(wishes.requirements)} as asked for: {shown}")
    yield from _pair()
    yield from _tested(wishes)


def _problem(requirement: Requirement) -> str:
    found = _version(requirement.name)
    if not found:
        return f"{requirement.name} is not installed; needed: {requirement.name}{_bounds(requirement)}"
    if not requirement.specifier.contains(found, prereleases=True):
        return f"{requirement.name} {found} is installed; needed: {requirement.name}{_bounds(requirement)}"
    return ""


def _bounds(requirement: Requirement) -> str:
    return str(requirement.specifier)


def _quoted(requirement: Requirement) -> str:
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"'{requirement.name}{extras}{requirement.specifier}'"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _pair() -> Iterator[Finding]:
    """Torchvision says which torch it was built for."""
    torch, vision = map(_version, _PAIR)
    if not torch or not vision:
        return  # told above
    for text in importlib.metadata.requires("torchvision") or ():
        try:
            wish = Requirement(text)
        except InvalidRequirement:
            continue
        if (
            _plain(wish.name) == "torch"
            and wish.marker is None
            and not wish.specifier.contains(torch, prereleases=True)
        ):
            yield Finding(
                "torch and torchvision",
                "failure",
                f"torchvision {vision} was built for torch{wish.specifier}, installed is {torch}",
                "pip install -c constraints.txt torch torchvision",
            )
            return


def _tested(wishes: Wishes) -> Iterator[Finding]:
    names = [_plain(requirement.name) for requirement in wishes.requirements]
    others = [
        f"{name} {found} instead of {wishes.tested[name]}"
        for name in names
        if name in wishes.tested and (found := _version(name)) and found.split("+")[0] != wishes.tested[name]
    ]
    if others:
        yield Finding(
            "tested set",
            "warning",
            f"other versions than in constraints.txt: {', '.join(others)}",
            "pip install -e . -c constraints.txt",
        )


def ray_import(_: Subject) -> Iterator[Finding]:
    """In a process of its own: a broken binary must not take the doctor with it."""
    code = "import ray; print(ray.__version__)"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=IMPORT_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        yield Finding("Ray", "failure", f"`import ray` takes more than {IMPORT_LIMIT_S} s", "look at the disk's load")
        return
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        mend = "pip install --force-reinstall 'ray[default,train,tune]' -c constraints.txt"
        yield Finding("Ray", "failure", f"ray cannot be imported: {said}", mend)
    else:
        yield Finding("Ray", "ok", f"ray {done.stdout.strip()} can be imported; --deep starts it")
