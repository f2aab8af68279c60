"""The loop of one run segment on one rank: steps, evaluations, checkpoints, words to the driver.

Everything random is drawn from counters (see `streams`), checkpoints fall on evaluations, and all ranks take the
same decisions at the same steps, so a killed and resumed run ends like one that was never disturbed: bit by bit on
CPU, for the same world size, threads and kind of host.
"""

from __future__ import annotations

import contextlib
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from orchestrator.execution import checkpoints
from orchestrator.execution.hub_records import SAVE_NOW
from orchestrator.execution.optimisation import Optimisation
from orchestrator.execution.seat import Progress, Seat
from orchestrator.execution.streams import stream_seed
from orchestrator.plan.run_spec import RunSpec
from orchestrator.plan.slots import evaluation_steps

TICK_STEPS = 10
"""Every so many steps the driver may stop the run, and a checkpoint may fall due."""
CHECKPOINT_INTERVAL_S = 300.0


class SegmentLoop(ABC):
    """One rank's view of one run; what is trained, and how it is scored, is the subclass's."""

    optimisation: Optimisation
    trained: nn.Module
    """What DDP wraps and a checkpoint holds."""

    def __init__(self, spec: RunSpec, job: dict[str, Any], seat: Seat) -> None:
        self.spec, self.job, self.seat = spec, job, seat
        self.train = dict(spec.train)
        self.progress = Progress()
        self._saved_at = time.monotonic()
        self._saved_step = 0

    # ---- what a subclass says

    @abstractmethod
    def backward(self, net: nn.Module, step: int) -> float:
        """Add the gradients of one step (0-based); this rank's part of the loss."""

    @abstractmethod
    def evaluate(self, mean_loss: float) -> None:
        """Score at the current step, into `progress`."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Provenance that only the worker knows."""

    @abstractmethod
    def conclude(self) -> dict[str, Any]:
        """What is done once, after the last step; it is added to the event that ends the run."""

    def after_step(self) -> None:  # noqa: B027 - most runs have nothing to do here
        """Called after each optimiser step."""

    # ---- one segment

    def run(self) -> dict[str, Any]:
        """Train up to the job's `until_step`; the event that ends the segment."""
        started = time.perf_counter()
        net = self._wrap()
        if self._resume() and self.progress.history:
            self._tell(list(self.progress.history))
        steps = int(self.train["steps"])
        stops = evaluation_steps(steps, int(self.train["evaluations"]))
        until = int(self.job["until_step"])
        before = self.progress.seconds
        while self.progress.step < until and not self.progress.is_over:
            target = min(s for s in [*stops, until, self.progress.step + TICK_STEPS] if s > self.progress.step)
            self._steps(net, target)
            is_scored = target in stops or target == until
            if is_scored:
                self.evaluate(self._mean_loss())
            self.progress.seconds = before + time.perf_counter() - started
            if reason := self._report(is_scored):
                return {"kind": "cancelled", "reason": reason, "step": self.progress.step}
        ended = {
            "kind": "reached",
            "step": until,
            "scores": dict(self.progress.scores),
            "facts": self.facts(),
        }
        if until >= steps:
            ended |= self.conclude()
        ended["seconds"] = before + time.perf_counter() - started
        return ended

    def _report(self, is_scored: bool) -> str:
        """Checkpoint and tell the driver after an evaluation; in between, see whether to stop or to checkpoint."""
        if is_scored:
            point = {"step": self.progress.step, "time_ms": int(time.time() * 1000), "scores": self.progress.scores}
            self.progress.history.append(point)
            self._save()
            return self._tell([point])
        tick = {"kind": "tick", "can_save": True, "step": self.progress.step, "saved_step": self._saved_step}
        reason, is_due = self.seat.first(
            lambda: (
                self.seat.tell(tick),
                time.monotonic() - self._saved_at > CHECKPOINT_INTERVAL_S,
            )
        )
        if reason or is_due:
            self._save()
        return "" if reason == SAVE_NOW else str(reason)

    def _tell(self, points: list[dict[str, Any]]) -> str:
        """Tell the driver of evaluations, the newest last; why to stop, or ""."""
        event = {"kind": "progress", "step": points[-1]["step"], "points": points}
        return str(self.seat.first(lambda: self.seat.tell(event)))

    def _wrap(self) -> nn.Module:
        """DDP where there is more than one rank, its gradient buckets settled by a throw-away step.

        DDP rearranges its buckets after the first backward pass; from three ranks on the order of summation, and so
        the last bits, would differ between a run that began here and one that is resumed here.
        """
        if self.seat.world_size == 1:
            return self.trained
        cuda = self.seat.device.type == "cuda"
        net = DistributedDataParallel(self.trained, device_ids=[self.seat.device.index] if cuda else None)
        kept = {k: v.detach().clone() for k, v in self.trained.state_dict().items()}
        torch.manual_seed(stream_seed(self.spec.seed, "throw-away step", self.seat.rank))
        self.backward(net, 0)
        self.optimisation.clear()
        self.progress.term_sums.clear()
        self.trained.load_state_dict(kept)
        return net

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(str(self.train["precision"]))
        return torch.autocast(self.seat.device.type, dtype=half) if half else contextlib.nullcontext()

    def _steps(self, net: nn.Module, until: int) -> None:
        """Optimiser steps up to `until`."""
        net.train()
        for step in range(self.progress.step, until):
            torch.manual_seed(stream_seed(self.spec.seed, "step", step, self.seat.rank))
            self.optimisation.prepare(step)
            self.progress.loss_sum += self.backward(net, step)
            self.optimisation.apply()
            self.progress.loss_steps += 1
            self.progress.step = step + 1
            self.after_step()

    def add_terms(self, terms: Mapping[str, torch.Tensor]) -> None:
        """Keep the parts of a loss, to be told as means at the next evaluation (those of rank 0)."""
        for name, value in terms.items():
            self.progress.term_sums[name] = self.progress.term_sums.get(name, 0.0) + float(value.detach())

    def mean_terms(self, section: str) -> dict[str, float]:
        """Means of the kept parts since the last evaluation, by name; called before `_mean_loss` forgets the count."""
        return {f"{section}/{name}": value for name, value in self._terms.items()}

    def _mean_loss(self) -> float:
        """Mean training loss since the last evaluation, over all ranks."""
        count = max(1, self.progress.loss_steps)
        mean = float(self.seat.sum(np.array([self.progress.loss_sum]))[0]) / self.seat.world_size / count
        self._terms = {name: value / count for name, value in self.progress.term_sums.items()}
        self.progress.loss_sum, self.progress.loss_steps, self.progress.term_sums = 0.0, 0, {}
        if not math.isfinite(mean):
            raise FloatingPointError(
                f"the training loss is {mean} at step {self.progress.step}; "
                "a lower learning rate or gradient_clip_norm may help"
            )
        return mean

    # ---- state

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        sums = np.zeros(self.seat.world_size)
        sums[self.seat.rank] = self.progress.loss_sum
        loss_sums = self.seat.sum(sums).tolist()  # each rank goes on with its own
        if self.seat.rank == 0:
            state = {
                "loss_sums": loss_sums,
                "model": self.trained.state_dict(),
                **self.optimisation.state_dict(),
                **vars(self.progress),
            }
            checkpoints.save(self.job["storage"], self.spec.key, int(self.job["attempt"]), state)
        self._saved_step = self.progress.step
        self.seat.barrier()

    def _resume(self) -> bool:
        """Go on from the newest checkpoint; whether another attempt has written it."""
        # One read for all ranks: each for itself could find another state, and train on silently wrong.
        unreadable: list[str] = []  # filled on rank 0 only, which also tells
        state = self.seat.first(
            lambda: checkpoints.load_newest(self.job["storage"], self.spec.key, unreadable=unreadable)
        )
        for path in unreadable:
            step = 0 if state is None else state["step"]
            text = f"checkpoint {path} cannot be read (cut off or damaged); the run goes on from step {step}"
            self.seat.tell({"kind": "note", "text": text})
        if state is None:
            return False
        self.trained.load_state_dict(state["model"])
        self.optimisation.load_state_dict(state)
        self.progress = Progress(**{f.name: state[f.name] for f in fields(Progress) if f.name in state})
        self.progress.loss_sum = state["loss_sums"][self.seat.rank]
        self._saved_step = self.progress.step
        return int(state["attempt"]) != int(self.job["attempt"])
