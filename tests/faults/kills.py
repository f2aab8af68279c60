"""Faults of processes: killed, stopped, signalled, started twice."""

from __future__ import annotations

import os
import signal
import time

from tests.faults.fault import Fault
from tests.faults.rig import Rig
from tests.faults.rows import Row

WORKER = "RayTrainWorker"


def _kill_one_worker(rig: Rig) -> None:
    rig.processes(WORKER)[-1].kill()


def _kill_group(rig: Rig) -> None:
    for worker in rig.processes(WORKER):
        worker.kill()


def _hang_one_worker(rig: Rig) -> None:
    worker = rig.processes(WORKER)[-1]
    worker.suspend()
    rig.at_end(lambda: worker.is_running() and worker.kill())


def _kill_driver(rig: Rig) -> None:
    assert rig.process is not None
    rig.processes("")  # remember what it leaves behind
    os.kill(rig.process.pid, signal.SIGKILL)


def _kill_raylet(rig: Rig) -> None:
    rig.processes("raylet/raylet")[0].kill()


def _kill_gcs(rig: Rig) -> None:
    rig.processes("gcs_server")[0].kill()


def _signal(number: signal.Signals) -> Fault:
    def strike(rig: Rig) -> None:
        assert rig.process is not None
        rig.process.send_signal(number)

    return Fault(
        name=number.name.lower(),
        title=f"{number.name} to the driver",
        how=f"{number.name} to the command in the middle of a run",
        told="interrupted; the same command continues",
        strike=strike,
        ends=(130,),
        check=_nothing_runs,
    )


def _nothing_runs(rig: Rig, row: Row) -> None:
    """After an orderly end no slot may have failed."""
    failed = [name for name, slot in rig.slots().items() if slot.state == "failed"]
    if failed:
        row.problems.append(f"slots that failed by it: {failed}")


def _second_driver(rig: Rig) -> None:
    began = time.time()
    second = rig.launch()
    rig.second_status = second.wait(120)
    rig.second_s = time.time() - began


def _second_was_refused(rig: Rig, row: Row) -> None:
    row.notes.append(f"The second command ended with {rig.second_status} after {rig.second_s:.1f} s.")
    rig.statuses.append(rig.second_status)
    row.expected.append([2])


FAULTS = (
    Fault(
        name="worker-killed",
        title="one DDP worker of two killed",
        how="SIGKILL of one of the two workers of a group in the middle of a run",
        told=r"failed \(lost\)",
        strike=_kill_one_worker,
        ends_workers=True,
        world_size=2,
    ),
    Fault(
        name="group-killed",
        title="whole worker group killed",
        how="SIGKILL of both workers of a group in the middle of a run",
        told=r"failed \(lost\)",
        strike=_kill_group,
        ends_workers=True,
        world_size=2,
    ),
    Fault(
        name="rank-hung",
        title="one DDP worker hangs",
        how="SIGSTOP of one of two workers, for good; execution.stall_timeout_s=20",
        told=r"execution\.stall_timeout_s",
        strike=_hang_one_worker,
        ends_workers=True,
        world_size=2,
        overrides=("execution.stall_timeout_s=20",),
    ),
    Fault(
        name="driver-killed",
        title="driver killed",
        how="SIGKILL of the command in the middle of a run",
        told=r"left RUNNING; it is KILLED now \(interrupted",
        strike=_kill_driver,
        ends=(-signal.SIGKILL,),
    ),
    Fault(
        name="raylet-killed",
        title="raylet killed",
        how="SIGKILL of the raylet of the command's own cluster in the middle of a run",
        told=r"hsfm-sweep: .*raylet",
        strike=_kill_raylet,
        ends_workers=True,
        ends=(0, 1),
    ),
    Fault(
        name="gcs-killed",
        title="GCS killed",
        how="SIGKILL of the GCS server of the command's own cluster in the middle of a run",
        told=r"hsfm-sweep: .*(gcs_server|GCS)",
        strike=_kill_gcs,
        ends_workers=True,
        ends=(0, 1),
    ),
    _signal(signal.SIGINT),
    _signal(signal.SIGTERM),
    Fault(
        name="two-drivers",
        title="two drivers on one sweep",
        how="the same command a second time while the first one trains",
        told=r"process \d+ on .* since",
        strike=_second_driver,
        check=_second_was_refused,
    ),
)
