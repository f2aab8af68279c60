"""`strategy init` writes what works at once; `strategy check` says what a strategy does not keep."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli import main
from strategies import registry

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_plugins", {})


@pytest.mark.parametrize("kind", ["network", "estimator"])
def test_the_file_and_its_test_are_clean_and_pass_at_once(kind: str, tmp_path: Path) -> None:
    assert main(["strategy", "init", "my_own", "--kind", kind]) == 0
    # the imports of a third party's file: `strategies` is a package like any other there
    for command in (["format", "--check"], ["check", "--ignore", "I001,D"]):
        subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--config", str(ROOT / "pyproject.toml"), "."], check=True
        )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], text=True, capture_output=True
    )
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout


def test_the_new_strategy_is_planned_by_the_command_that_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["strategy", "init", "my_own"])
    commands = [line.strip() for line in capsys.readouterr().out.splitlines() if line.startswith("  hsfm-sweep")]
    assert len(commands) == 3
    command = commands[1].replace("hsfm-sweep", f"{sys.executable} -m orchestrator.cli")
    printed = subprocess.run(["bash", "-c", command], check=True, text=True, capture_output=True).stdout
    assert "plugin/my_own" in printed


def test_a_family_is_a_folder_of_the_repository(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["strategy", "init", "my_own", "--family", "in_domain"]) == 2
    assert "has to be its checkout" in capsys.readouterr().err
    (tmp_path / "strategies" / "in_domain").mkdir(parents=True)
    assert main(["strategy", "init", "my_own", "--family", "in_domain"]) == 0
    assert [file.name for file in tmp_path.rglob("*.py")] == ["my_own.py"]
    assert "hsfm-sweep strategy check in_domain/my_own" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["my-own"], "for example 'my_own'"),
        (["class"], "no word of Python's own"),
        (["unet"], "taken by the strategy in_domain/unet"),
        (["torch"], "for example 'my_torch'"),
        (["my_own", "--kind", "networks"], "Did you mean 'network'?"),
        (["my_own", "--family", "indomain"], "Did you mean 'in_domain'?"),
        (["my_own", "--to", "absent"], "folder absent not found"),
    ],
)
def test_what_cannot_be_written_is_refused(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["strategy", "init", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", ["my_own.py", "test_my_own.py"])
def test_a_file_that_is_there_is_kept(there: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / there).write_text("mine")
    assert main(["strategy", "init", "my_own"]) == 2
    assert f"{there} exists and is kept" in capsys.readouterr().err
    assert [file.read_text() for file in tmp_path.iterdir()] == ["mine"]


def test_check_names_the_promise_that_is_not_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["strategy", "init", "my_own"])
    file = tmp_path / "my_own.py"
    file.write_text(file.read_text().replace("kernel_size=3, padding=1", "kernel_size=5, padding=2"))
    capsys.readouterr()
    assert main(["strategy", "check", "--plugin", "my_own.py"]) == 1
    printed = capsys.readouterr().out
    assert "NOT KEPT  a pixel beyond the receptive field changes nothing" in printed
    assert "keeps 14 of 15 promises" in printed
