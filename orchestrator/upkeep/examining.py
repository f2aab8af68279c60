"""`doctor`: all checks, in the order in which a person reads them."""

from __future__ import annotations

from orchestrator.upkeep import check_machine, check_mlflow, check_software, check_storage, check_sweep, deep
from orchestrator.upkeep.findings import Check, Finding, Subject, run_checks

CHECKS: tuple[Check, ...] = (
    check_software.packages,
    check_software.ray_import,
    check_machine.devices,
    check_machine.graphics,
    check_machine.limits,
    check_storage.sweep_folder,
    check_storage.checkpoints,
    check_storage.free_disk,
    check_storage.database_place,
    check_mlflow.mlflow,
    check_machine.ui_port,
    check_sweep.driver,
    check_sweep.plan_fits,
    check_sweep.data_sets,
    check_sweep.weights,
    check_machine.left_over_processes,
)
DEEP_CHECKS: tuple[Check, ...] = (deep.opens_in_mlflow, deep.ray_nodes)


def examine(subject: Subject, *, is_deep: bool = False) -> list[Finding]:
    """Look at everything; nothing that is found wrong keeps the other checks from being made.

    Args:
        subject: a grid's sweep, or the machine alone.
        is_deep: also start (or join) Ray, and look from every node. Takes about a minute.
    """
    found = run_checks(CHECKS, subject)
    if is_deep:
        # Ray wants the main thread, so one after another
        for check in DEEP_CHECKS:
            found += run_checks((check,), subject, in_threads=False)
    return found
