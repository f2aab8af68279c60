"""The path of a new user, from a scene of one's own to a model in use: docs/first-hour.md, followed and timed.

    python benchmarks/new_user.py [--keep FOLDER]

Follows every block of the document in an empty folder, as its test does, and prints the seconds of each step.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.walkthrough import clean_environment, read_steps, walk  # noqa: E402

DOCUMENT = ROOT / "docs" / "first-hour.md"


def follow(folder: Path) -> None:
    """Walk through the document in a folder and print what each heading took."""
    seconds: dict[str, float] = {}
    print(f"{DOCUMENT.relative_to(ROOT)}, followed in an empty folder with an empty cache")
    for walked in walk(read_steps(DOCUMENT), folder, clean_environment(folder)):
        if walked.step.heading not in seconds and seconds:
            _print_last(seconds)
        seconds[walked.step.heading] = seconds.get(walked.step.heading, 0.0) + walked.seconds
    _print_last(seconds)
    print(f"{sum(seconds.values()):7.1f} s  in all, without reading and editing")


def _print_last(seconds: dict[str, float]) -> None:
    heading, took = list(seconds.items())[-1]
    print(f"{took:7.1f} s  {heading}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="Work in this empty folder and keep it.")
    given = parser.parse_args()
    if given.keep:
        given.keep.mkdir(parents=True)
        follow(given.keep.absolute())
    else:
        with tempfile.TemporaryDirectory() as scratch:
            follow(Path(scratch))
