"""`python -m tests.faults`: inject every fault for real and fill the matrix; ends with 1 if a guarantee is broken."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.faults import files, kills, places, runs
from tests.faults.fault import Bench, Fault, play
from tests.faults.page import page, table
from tests.faults.rows import Row, verdict, violations

FAULTS: tuple[Fault, ...] = (*kills.FAULTS, *places.FAULTS, *files.FAULTS, *runs.FAULTS)
COMMAND = "python -m tests.faults --write docs/faults.md"


def main(arguments: Sequence[str] | None = None) -> int:
    names = [fault.name for fault in FAULTS]
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", nargs="+", default=names, choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--write", type=Path, metavar="FILE.md", help="write the page")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep rows here; those of other faults stay")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep data, undisturbed sweeps and all folders here")
    parser.add_argument("--away-s", type=float, default=120, help="seconds that MLflow is away (default: %(default)s)")
    parser.add_argument("--page-only", action="store_true", help="inject nothing; show the rows of --json")
    given = parser.parse_args(arguments)
    rows = _known_rows(given.json)
    folder = given.keep or Path(tempfile.mkdtemp(prefix="hsfm-faults-"))
    bench = Bench(folder.resolve(), away_s=given.away_s)
    chosen = [] if given.page_only else [fault for fault in FAULTS if fault.name in given.only]
    try:
        for fault in chosen:
            print(f"{fault.name}: {fault.how} ...", flush=True)
            rows[fault.name] = row = play(fault, bench)
            _tell(row)
            if given.json:
                given.json.write_text(json.dumps([r.to_json() for r in _ordered(rows)], indent=1))
    finally:
        if given.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    shown = _ordered(rows)
    print(table(shown))
    if given.write:
        given.write.write_text(page(shown, COMMAND), encoding="utf-8")
    return int(any(violations(row) for row in shown))


def _known_rows(file: Path | None) -> dict[str, Row]:
    if file is None or not file.exists():
        return {}
    return {row.name: row for row in map(Row.from_json, json.loads(file.read_text()))}


def _ordered(rows: dict[str, Row]) -> list[Row]:
    return [rows[fault.name] for fault in FAULTS if fault.name in rows]


def _tell(row: Row) -> None:
    text = row.not_run or "; ".join(violations(row)) or f"exit {row.statuses}, told: {row.told[:200]}"
    print(f"  {verdict(row)} after {row.seconds:.0f} s: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
