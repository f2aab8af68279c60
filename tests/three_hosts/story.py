"""What happens, in this order: up, a sweep, a host is cut off, the rest goes on, it comes back, down."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Any

from orchestrator.ledger.records import SlotRecord
from tests.chaos.compare import differences, slots_of
from tests.faults.training_log import Line
from tests.three_hosts.hosts import HostError
from tests.three_hosts.lab import NAME, Lab, wait_until
from tests.three_hosts.told import Told

GRID = """name: three_hosts
description: Two networks in rounds, rungs and finals, trained by pairs of processes.
strategies: [in_domain/spectral_cnn, in_domain/unet]
datasets: [indian_pines]
label_budgets: [0.1]
seeds: 1
search: {trials: 2, round: 2}
train: {steps: 120, evaluations: 4, patch_size: 16, batch_size: 4, pixel_batch_size: 64, world_size: 2}
execution: {max_attempts: 5}
"""
MORE = "strategies=[in_domain/spectral_cnn,in_domain/unet,in_domain/mlp]"
"""The second start asks for one more strategy: cells of its own, so that the others must stay as they are."""
STEPS_BEYOND = 8
"""The cable is pulled when a run is so many steps beyond its last checkpoint: something is lost for certain."""


class Story:
    """Plays it; `told` is what it has to tell, also where it fails half-way."""

    def __init__(self, lab: Lab, tell: Callable[[float, str], None], patience: float) -> None:
        self.lab, self.told, self._tell, self._patience = lab, Told(), tell, patience
        self._processes: list[subprocess.Popen[bytes]] = []
        self._members: subprocess.Popen[bytes]

    def play(self) -> Told:
        try:
            self._play()
        except (HostError, OSError, subprocess.SubprocessError) as error:
            self.told.error = str(error)
            self._say(f"FAILED: {error}")
        finally:
            self.told.lines = self.lab.lines()
            for process in self._processes:
                if process.poll() is None:
                    process.kill()
            for host in self.lab.hosts:
                host.switch_off()
        return self.told

    def _say(self, text: str) -> float:
        now_s = time.time()
        self.told.events.append((now_s, text))
        self._tell(now_s - self.told.began_s, text)
        return now_s

    def _wait(self, what: str, is_so: Callable[[], bool], limit_s: float, *alive: subprocess.Popen[bytes]) -> None:
        def check() -> bool:
            if is_so():
                return True
            for process in alive:
                if process.poll() is not None:
                    raise HostError(f"{what}: the command ended with {process.poll()} before")
            return False

        wait_until(what, check, limit_s * self._patience)

    def _play(self) -> None:
        lab, told = self.lab, self.told
        staying, leaving = lab.workers
        told.cut_host = leaving.name
        wheel = lab.build_wheel()
        lab.build(wheel)
        self._say(f"{wheel.name} built; hosts up: " + ", ".join(f"{h.name} ({h.cpus} CPUs)" for h in lab.hosts))
        self._up()
        neighbour = self._neighbour()
        sweep = self._start(lab.submit(log="sweep-1"), "sweep submitted")
        self._wait("training in full swing", self._is_deep_in_training, 240, sweep)
        told.closed_at_cut = {name: slot for name, slot in self._slots().items() if slot.is_closed}
        leaving.cut()
        told.cut_s = self._say(
            f"{leaving.name} CUT OFF in mid-training of {self._now_training()}; {len(told.closed_at_cut)} runs closed"
        )
        self._end(neighbour)
        self._say(f"the neighbour's work on {staying.name} has ended: a pair fits there now")
        alone = self._start(self.lab.sweep_alone(MORE), "meanwhile, the same grid starts on one host")
        self._wait("the host given up", lambda: leaving.name not in self._present(), 120, sweep)
        told.lost_s = time.time()
        self._wait("training on the rest", lambda: self._steps_after(told.cut_s + 1) > 0, 180, sweep)
        self._say(f"training goes on, {time.time() - told.cut_s:.0f} s after the cut")
        leaving.switch_off()
        leaving.boot()
        self._say(f"{leaving.name} was switched off and on again; its cable is in")
        self._wait("the host back in the cluster", lambda: leaving.name in self._present(), 240)
        told.back_s = time.time()
        self._finish(sweep, "the sweep")
        neighbour = self._neighbour()
        told.second_s = self._say(f"second start, with {MORE}")
        self._finish(self._start(lab.submit(MORE, log="sweep-2")), "the second start")
        self._end(neighbour)
        self._down()
        self._compare(alone)

    # ---- parts

    def _up(self) -> None:
        # Ray gives a head 30 s to start, which can be short where one machine is three: it may try twice.
        for trial in (1, 2):
            up = self._start(self.lab.ray("up", "-y", "--no-config-cache", str(self.lab.file), log=f"up-{trial}"))
            self._wait("ray up", lambda up=up: up.poll() is not None, 180)  # type: ignore[misc]
            if up.returncode == 0:
                break
            self._say(f"`ray up` ended with {up.returncode}: {self._last_words(f'up-{trial}')}")
        if up.returncode:
            raise HostError(f"`ray up` ended with {up.returncode}, twice")
        self._say("`ray up` is done: the head runs")
        self._members = self.lab.follow_members(self._tell_members)
        self._processes.append(self._members)
        self._wait("all hosts in the cluster", lambda: len(self.lab.members) == len(self.lab.hosts), 180)

    def _tell_members(self, members: list[dict[str, Any]]) -> None:
        names = self.lab.names_of(members)
        self._say(
            "the cluster is " + ", ".join(f"{n} ({m['cpus']:g} CPUs)" for n, m in zip(names, members, strict=True))
        )

    def _present(self) -> list[str]:
        return self.lab.names_of(self.lab.members)

    def _neighbour(self) -> subprocess.Popen[bytes]:
        """Take one of the two CPUs of the larger host, so that a pair has to span both."""
        host = self.lab.workers[0]
        process = self.lab.on_head("neighbour.py", host.address, "1")
        self._processes.append(process)
        assert process.stdout is not None
        if process.stdout.readline().strip() != b"holds":
            raise HostError("the neighbour found no CPU")
        self._say(f"a neighbour's work holds 1 CPU of {host.name}: a pair must span both workers")
        return process

    def _start(self, process: subprocess.Popen[bytes], text: str = "") -> subprocess.Popen[bytes]:
        self._processes.append(process)
        if text:
            self._say(text)
        return process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Close the input of one of our scripts."""
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30 * self._patience)

    def _finish(self, sweep: subprocess.Popen[bytes], what: str) -> None:
        self._wait(f"the end of {what}", lambda: sweep.poll() is not None, 300)
        log = f"sweep-{2 if self.told.second_s else 1}"
        self._say(f"{what} ended with {sweep.returncode}")
        if sweep.returncode:
            raise HostError(f"{what} ended with {sweep.returncode}: {self._last_words(log)}")

    def _last_words(self, log: str) -> str:
        text = (self.lab.laptop / f"{log}.log").read_text(errors="replace")
        return " / ".join([line.strip() for line in text.splitlines() if line.strip()][-4:])

    def _down(self) -> None:
        """`ray down` stops the head; the workers end when they find no head any more."""
        self._end(self._members)
        before = {host.name: len(host.processes()) for host in self.lab.hosts}
        down = self._start(self.lab.ray("down", "-y", str(self.lab.file), log="down"))
        self._wait("ray down", lambda: down.poll() is not None, 120)
        if down.returncode:
            raise HostError(f"`ray down` ended with {down.returncode}: {self._last_words('down')}")
        self._say("`ray down` is done; processes before: " + ", ".join(f"{n} {c}" for n, c in before.items()))
        down_s = time.time()
        limit_s = down_s + 120 * self._patience
        while (left := self._living()) and time.time() < limit_s:
            time.sleep(0.5)
        self.told.left = left
        self._say(f"{len(left) or 'no'} processes are left on the hosts, {time.time() - down_s:.0f} s after `ray down`")

    def _compare(self, alone: subprocess.Popen[bytes]) -> None:
        """Wait for the sweep on one host, and compare."""
        self._wait("the sweep on one host", lambda: alone.poll() is not None, 300)
        if alone.returncode:
            raise HostError(f"the sweep on one host ended with {alone.returncode}: {self._last_words('one-host')}")
        self._say("the sweep on one host has ended with 0")
        self.told.slots = self._slots()
        here, there = self.lab.sweep(self.lab.disk), self.lab.sweep()
        self.told.unlike = differences(here, there, NAME, [self.told.closed_at_cut])

    def _living(self) -> list[str]:
        found = []
        for host in self.lab.hosts:
            for process in host.processes():
                found.append(f"{host.name}: {process.pid} {process.name()}")
        return found

    # ---- what is seen of the sweep

    def _slots(self) -> dict[str, SlotRecord]:
        from orchestrator.ledger.location import resolve_location
        from orchestrator.ledger.parents import cell_records, parents_from_sqlite
        from orchestrator.ledger.spool import read_after, read_committed

        location = resolve_location(self.lab.sweep(), None)
        if location.database is None or not location.database.exists():
            return {}
        told = read_committed(location.spool_dir)
        parents = parents_from_sqlite(location.database, NAME)
        return slots_of(cell_records(parents, read_after(location.spool_dir, told))) if parents else {}

    def _is_deep_in_training(self) -> bool:
        """Whether both workers train a run that has a checkpoint and is well beyond it, and another run is closed."""
        by_host = self.lab.lines()
        newest = self._newest_run(by_host)
        if newest is None:
            return False
        key, attempt = newest
        spans = all(
            any((line.key, line.attempt) == (key, attempt) for line in by_host[host.name][-20:])
            for host in self.lab.workers
        )
        lines = [line for of_host in by_host.values() for line in of_host if line.key == key]
        saved = max((line.step for line in lines if line.kind == "saved"), default=0)
        step = max(line.step for line in lines if line.kind == "step")
        is_recent = time.time() - max(line.time_s for line in lines) < 5
        is_deep = saved > 0 and step - saved >= STEPS_BEYOND
        return spans and is_recent and is_deep and any(slot.is_closed for slot in self._slots().values())

    def _newest_run(self, by_host: dict[str, list[Line]]) -> tuple[str, int] | None:
        steps = [line for lines in by_host.values() for line in lines[-20:] if line.kind == "step"]
        newest = max(steps, default=None)
        return (newest.key, newest.attempt) if newest else None

    def _now_training(self) -> str:
        newest = self._newest_run(self.lab.lines())
        names = [name for name, slot in self._slots().items() if newest and slot.key == newest[0]]
        return names[0] if names else "a run"

    def _steps_after(self, moment_s: float) -> int:
        return sum(
            line.kind == "step" and line.time_s > moment_s
            for host in self.lab.workers
            if host.name != self.told.cut_host
            for line in self.lab.lines()[host.name][-50:]
        )
