"""The documents that a user follows, followed literally: files written, commands run, promised output looked for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from walkthrough import Walked, WalkError, clean_environment, read_steps, walk

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("orchestrator", "strategies", "dashboards", "tests", "pyproject.toml")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the repository, for documents that write into it."""
    folder = tmp_path / "hsfm-sweep"
    folder.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, folder / part)
    return folder


def follow(document: Path, folder: Path, section: str | None = None, **environment: str) -> list[Walked]:
    return list(walk(read_steps(document, section), folder, clean_environment(folder, **environment)))


@pytest.mark.slow
def test_the_first_hour_goes_as_the_document_says(tmp_path: Path) -> None:
    walked = follow(ROOT / "docs" / "first-hour.md", tmp_path)
    # two starts of Ray and sixteen small runs: a step that takes minutes is no first hour for anybody
    assert max(one.seconds for one in walked) < 240


@pytest.mark.slow
@pytest.mark.parametrize("section", ["A new strategy", "A new data set"])
def test_contributing_can_be_followed(section: str, checkout: Path) -> None:
    # What `pip install` would do to this environment is done in a folder of the test; nothing is fetched.
    target = checkout / ".installed"
    pip = {"PIP_TARGET": str(target), "PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}
    follow(ROOT / "CONTRIBUTING.md", checkout, section, PYTHONPATH=f"{checkout}:{target}", **pip)


# --- the walker itself ---------------------------------------------------------------------------------------------


def written(folder: Path, text: str) -> Path:
    document = folder / "guide.md"
    document.write_text(text.replace("'''", "```"))
    return document


def test_files_are_written_commands_run_in_order_and_promises_looked_for(tmp_path: Path) -> None:
    document = written(
        tmp_path,
        "# Guide\n## One\n'''yaml\n# file: a/b.yaml\nx: 1\n'''\n"
        "'''bash\n# a comment\ncat a/b.yaml; echo took 3 s\n'''\n"
        "'''text\nx:   1\ntook ... s\n'''\n",
    )
    file, command = follow(document, tmp_path)
    assert (file.step.file, file.step.heading, command.step.heading) == ("a/b.yaml", "One", "One")
    assert command.step.where == "guide.md:7"
    assert "x: 1" in command.output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("'''bash\necho on\nfalse\necho off\n'''\n", "guide.md:1: ended with 1"),
        ("'''bash\nfalse | true\n'''\n", "ended with 1"),
        ("'''bash\necho $UNSET_BY_ALL\n'''\n", "ended with"),
        ("'''bash\necho one\n'''\n'''text\ntwo\n'''\n", "the line 'two' is promised, but not printed"),
        ("'''bash\nsleep 60\n'''\n", "longer than 1 s"),
        ("'''python\nprint(1)\n'''\n", "a block of python; a walk-through takes"),
        ("'''\nhello\n'''\n", "a block of no language"),
        ("nothing to do\n", "has no steps"),
    ],
)
def test_a_document_that_cannot_be_followed_is_told_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    document = written(tmp_path, text)
    with pytest.raises(WalkError, match=words):
        list(walk(read_steps(document), tmp_path, clean_environment(tmp_path), limit_s=1))


def test_a_section_is_its_heading_and_all_below_it(tmp_path: Path) -> None:
    document = written(
        tmp_path, "## A\n'''bash\necho 1\n'''\n### B\n'''bash\necho 2\n# no heading\n'''\n## C\n'''bash\necho 3\n'''\n"
    )
    assert [step.heading for step in read_steps(document, "A")] == ["A", "B"]
    with pytest.raises(WalkError, match="no steps in the section 'D'"):
        read_steps(document, "D")
