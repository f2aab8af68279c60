"""`hsfm-sweep cluster`: look at a file for `ray up`, or a batch script, before anything is paid for."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.options import debug_option, json_option
from orchestrator.cli.printing import console, print_json


@click.group()
def cluster() -> None:
    """Clusters: check the file that starts one."""


@cluster.command(
    epilog="""\b
Examples:
  hsfm-sweep cluster check cluster.yaml              a file for `ray up`
  hsfm-sweep cluster check clusters/slurm.sbatch     a batch script of Slurm"""
)
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@debug_option
def check(file: Path, as_json: bool, debug: bool) -> int:  # noqa: ARG001
    """Check a cluster file against Ray's schema and the needs of a sweep; say what mends each finding.

    Nothing is started and no host is contacted. Exit status 1 where something would go wrong.
    """
    from orchestrator.cli.doctor import print_findings
    from orchestrator.upkeep.cluster_check import check_cluster, to_data

    found = check_cluster(file)
    if as_json:
        print_json(to_data(file, found))
    else:
        print_findings(found, console())
    return 1 if any(one.result == "failure" for one in found) else 0
