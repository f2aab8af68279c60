"""Writes the first file of a strategy of the user's own, with its test: a working one, to be changed."""

from __future__ import annotations

import importlib.util
import keyword
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal, get_args

from orchestrator.errors import ConfigError, unknown
from strategies.registry import FAMILIES, PLUGIN_FAMILY, list_strategies

Kind = Literal["network", "estimator"]
KINDS: tuple[Kind, ...] = get_args(Kind)
TEMPLATE_CLASSES = {"network": "SmallNetwork", "estimator": "NearestPixels"}
SUMMARIES = {
    "network": "a small network that sees a pixel and its neighbours, from scratch",
    "estimator": "k nearest neighbours on single spectra",
}
CHECK_COMMAND = "hsfm-sweep strategy check"
TEST_TEXT = '''"""The contract of a strategy, checked on {name}.py: python -m pytest test_{name}.py."""

from pathlib import Path

import pytest
from strategies.contract import Check, checks_of

FILE = Path(__file__).with_name("{name}.py")


@pytest.mark.parametrize("check", checks_of(FILE), ids=str)
def test_the_contract_is_kept(check: Check) -> None:
    check()
'''


@dataclass(frozen=True, kw_only=True)
class NewStrategy:
    """A strategy that was just written."""

    name: str
    """As a grid names it."""
    written: tuple[Path, ...]
    next_commands: tuple[str, ...]
    """Shell commands: check it, plan with it, run it."""


def write_strategy(name: str, *, kind: str = "network", family: str | None = None, to: Path = Path()) -> NewStrategy:
    """Write a strategy that works, and its test.

    Args:
        name: of the file and the strategy, a Python identifier.
        kind: network or estimator.
        family: None for a plugin, one file anywhere; else the family folder of the repository that it belongs into.
            The repository's own tests run over every strategy in it, so no test is written there.
        to: folder to write into; with a family, the repository.

    Raises:
        ConfigError: a name that cannot be used or is taken, an unknown kind or family, no such folder, or a file that
            is there.
    """
    if kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    folder = _folder(to, family)
    file, test = folder / f"{name}.py", folder / f"test_{name}.py"
    _check_name(name, family)
    full_name = f"{family or PLUGIN_FAMILY}/{name}"
    plugin = "" if family else f" --plugin {shlex.quote(str(file))}"
    check = f"{CHECK_COMMAND} {full_name}" if family else f"{CHECK_COMMAND}{plugin}"
    texts = {file: _strategy_text(name, kind, check)}
    if family is None:
        texts[test] = TEST_TEXT.format(name=name)
    _write(texts)
    sweep = f"--grid smoke{plugin} 'strategies=[in_domain/svm_rbf, {full_name}]'"
    return NewStrategy(
        name=full_name,
        written=tuple(texts),
        next_commands=(check, f"hsfm-sweep plan {sweep}", f"hsfm-sweep {sweep}"),
    )


def _folder(to: Path, family: str | None) -> Path:
    if family is not None and family not in FAMILIES:
        raise unknown("family", family, FAMILIES, hint="Leave it out for one file anywhere, given by --plugin.")
    folder = to / "strategies" / family if family else to
    if folder.is_dir():
        return folder
    if family:
        raise ConfigError(
            f"folder {folder} not found; a family is a folder of the repository, so {to} has to be its checkout; "
            "give it by --to, or leave --family out for one file anywhere"
        )
    raise ConfigError(f"folder {folder} not found; make it, or give another by --to")


def _check_name(name: str, family: str | None) -> None:
    if not name.isascii() or not name.isidentifier() or keyword.iskeyword(name) or name.startswith(("_", "test_")):
        guess = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_").lower()
        usable = guess.isidentifier() and not keyword.iskeyword(guess) and not guess.startswith("test_")
        raise ConfigError(
            f"name {name!r} cannot be a strategy's: allowed are letters, digits and _, beginning with a letter, no "
            f"word of Python's own, not test_...; for example {guess if usable and guess != name else 'my_network'!r}"
        )
    taken = [known for known in list_strategies() if known.split("/")[-1] == name]
    if taken:
        raise ConfigError(f"name {name!r} is taken by the strategy {taken[0]}; choose another")
    # Where tests run, the folder of the file comes first on Python's path: `import torch` would find a torch.py there.
    if family is None and (name in sys.stdlib_module_names or _is_installed(name)):
        raise ConfigError(
            f"name {name!r} is that of an installed Python module, which your file could hide; choose another, for "
            f"example {f'my_{name}'!r}"
        )


def _is_installed(name: str) -> bool:
    found = importlib.util.find_spec(name)
    # A folder without __init__.py, such as one of data beside the user, is found as well; it is no module.
    return found is not None and found.origin is not None and Path(found.origin).parent != Path().absolute()


def _strategy_text(name: str, kind: str, check: str) -> str:
    text = (files("strategies.templates") / f"{kind}.py").read_text(encoding="utf-8")
    class_name = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    if re.search(rf"\b{class_name}\b", text):
        class_name += "Strategy"
    text = text.replace(TEMPLATE_CLASSES[kind], class_name).replace(CHECK_COMMAND, check)
    summary = SUMMARIES[kind]
    return text.replace('"""SUMMARY.', f'"""{summary[0].upper()}{summary[1:]}.').replace("SUMMARY", summary)


def _write(texts: Mapping[Path, str]) -> None:
    there = [file for file in texts if file.exists()]
    if there:
        raise ConfigError(f"{there[0]} exists and is kept; choose another name, or move it away")
    for file, text in texts.items():
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
