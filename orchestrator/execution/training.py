"""Train one run segment on one rank of a worker group: from its newest checkpoint up to its next rung or its end.

Everything random is drawn from counters (see `streams`), checkpoints fall on evaluations, and all ranks take the
same decisions at the same steps, so a killed and resumed run ends like one that was never disturbed: bit by bit on
CPU, for the same world size, threads and kind of host.
"""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from orchestrator.errors import ExecutionError
from orchestrator.execution import checkpoints, gradients
from orchestrator.execution.batches import Batches
from orchestrator.execution.evaluation import confusion_of_network, score_test, validation_scores
from orchestrator.execution.optimisation import Optimisation
from orchestrator.execution.run_data import RunData, model_facts
from orchestrator.execution.saved_model import save_network
from orchestrator.execution.seat import Progress, Seat
from orchestrator.execution.streams import stream_seed
from orchestrator.plan.run_spec import RunSpec
from orchestrator.plan.slots import evaluation_steps
from strategies._base import Strategy
from strategies.adaptation import count_parameters
from strategies.objectives.segmentation import class_balanced_weights

IMPLEMENTATION_VERSION = 1
TICK_STEPS = 10
"""Every so many steps the driver may stop the run, and a checkpoint may fall due."""
CHECKPOINT_INTERVAL_S = 300.0


class NetworkRun:
    """One rank's view of the training of one run."""

    def __init__(self, spec: RunSpec, job: dict[str, Any], strategy: Strategy, seat: Seat) -> None:
        self.spec, self.job, self.strategy, self.seat = spec, job, strategy, seat
        self.train = dict(spec.train)
        if seat.world_size != int(self.train["world_size"]):
            raise ExecutionError(
                f"this run is defined for train.world_size={self.train['world_size']}, but its worker group has "
                f"{seat.world_size} workers; give all networks of a sweep the same world size"
            )
        self.is_pixelwise = strategy.receptive_field_px == 1
        self.data = RunData(spec, job["prepared_path"])
        self.batches = Batches(self.data, spec, is_pixelwise=self.is_pixelwise)
        self.progress = Progress()
        self._saved_at = time.monotonic()
        self.micro_batches = int(job.get("micro_batches", 1))
        self.model = self._build()
        self.total_parameters, self.trained_parameters = count_parameters(self.model)
        self.optimisation = Optimisation(self.model, strategy.parameter_groups(self.model), self.train, seat.device)
        self.class_weights_K: torch.Tensor | None = None
        if self.train["loss"] == "class_balanced":
            self.class_weights_K = class_balanced_weights(self.data.class_counts()).to(seat.device)

    def _build(self) -> nn.Module:
        facts = self.data.prepared.facts
        torch.manual_seed(stream_seed(self.spec.seed, "initialisation"))
        model = self.strategy.build(
            num_bands=facts.num_bands,
            wavelengths_nm=facts.wavelengths_nm,
            num_classes=self.data.num_outputs,
            image_size=self.batches.patch_px,
            weights_path=self.job.get("weights_path"),
        )
        self.strategy.initialise_from_data(model, self.data.some_spectra(self.spec.seed))
        return model.to(self.seat.device)

    @property
    def can_split(self) -> bool:
        """Whether half the micro-batch gives the same gradients."""
        return gradients.can_split(self.model, int(self.train["batch_size"]) // self.seat.world_size)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(str(self.train["precision"]))
        return torch.autocast(self.seat.device.type, dtype=half) if half else contextlib.nullcontext()

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
                self._evaluate()
            self.progress.seconds = before + time.perf_counter() - started
            if reason := self._report(is_scored):
                return {"kind": "cancelled", "reason": reason, "step": self.progress.step}
        ended = {
            "kind": "reached",
            "step": until,
            "scores": dict(self.progress.scores),
            "facts": self.facts(),
        }
        if self.spec.stage == "final" and until >= steps:
            ended |= self._score_on_test()
        ended["seconds"] = before + time.perf_counter() - started
        return ended

    def _report(self, is_scored: bool) -> str:
        """Checkpoint and tell the driver after an evaluation; in between, see whether to stop or to checkpoint."""
        if is_scored:
            point = {"step": self.progress.step, "time_ms": int(time.time() * 1000), "scores": self.progress.scores}
            self.progress.history.append(point)
            self._save()
            return self._tell([point])
        reason, is_due = self.seat.first(
            lambda: (self.seat.tell({"kind": "tick"}), time.monotonic() - self._saved_at > CHECKPOINT_INTERVAL_S)
        )
        if reason or is_due:
            self._save()
        return str(reason)

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
            return self.model
        cuda = self.seat.device.type == "cuda"
        net = DistributedDataParallel(self.model, device_ids=[self.seat.device.index] if cuda else None)
        kept = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        torch.manual_seed(stream_seed(self.spec.seed, "throw-away step", self.seat.rank))
        self._backward(net, 0)
        self.optimisation.clear()
        self.model.load_state_dict(kept)
        return net

    def _backward(self, net: nn.Module, step: int) -> float:
        x, y = self.batches.draw(step, self.seat)
        return gradients.backward(
            net,
            x,
            y,
            self.seat,
            autocast=self.autocast,
            scaler=self.optimisation.scaler,
            class_weights_K=self.class_weights_K,
            over_all_pixels=self.train.get("loss_average") == "all",
            parts=self.micro_batches,
        )

    def _steps(self, net: nn.Module, until: int) -> None:
        """Optimiser steps up to `until`."""
        net.train()
        for step in range(self.progress.step, until):
            torch.manual_seed(stream_seed(self.spec.seed, "step", step, self.seat.rank))
            self.optimisation.prepare(step)
            self.progress.loss_sum += self._backward(net, step)
            self.optimisation.apply()
            self.progress.loss_steps += 1
            self.progress.step = step + 1

    def _evaluate(self) -> None:
        self.progress.scores = {"train/loss": self._mean_loss()}
        is_scored = self.data.has_validation
        self.seat.share_buffers(self.model)
        if is_scored:
            confusion = self.seat.sum(self._confusion("validation"))
            self.progress.scores |= validation_scores(confusion, self.data)
        score = self.progress.scores.get(f"val/{self.spec.metric}")
        is_last_chosen = self.train["checkpoint"] == "last" or not is_scored
        self.progress.judge(score, self.model, always=is_last_chosen, patience=int(self.train.get("early_stopping", 0)))
        if self.progress.best_score is not None:
            self.progress.scores[f"val/best_{self.spec.metric}"] = self.progress.best_score

    def _mean_loss(self) -> float:
        """Mean training loss since the last evaluation, over all ranks."""
        mean = (
            float(self.seat.sum(np.array([self.progress.loss_sum]))[0])
            / self.seat.world_size
            / max(1, self.progress.loss_steps)
        )
        self.progress.loss_sum, self.progress.loss_steps = 0.0, 0
        if not math.isfinite(mean):
            raise FloatingPointError(
                f"the training loss is {mean} at step {self.progress.step}; "
                "a lower learning rate or gradient_clip_norm may help"
            )
        return mean

    def _confusion(self, side: str) -> np.ndarray:
        return confusion_of_network(
            self.model,
            self.data,
            side,
            is_pixelwise=self.is_pixelwise,
            device=self.seat.device,
            autocast=self.autocast,
            rank=self.seat.rank,
            world_size=self.seat.world_size,
        )

    def _score_on_test(self) -> dict[str, Any]:
        """Score the chosen checkpoint on the test side, once, and save the model."""
        assert self.progress.best_state is not None
        self.model.load_state_dict(self.progress.best_state)
        scores, evaluation = score_test(
            self.seat.sum(self._confusion("test")), self.data, self.strategy.receptive_field_px
        )
        ended: dict[str, Any] = {"scores": {**self.progress.scores, **scores}, "evaluation": evaluation}
        if self.seat.rank == 0:
            facts = {**model_facts(self.data, self.spec), "patch_px": self.batches.patch_px}
            ended["model_folder"] = save_network(self.job["storage"], self.spec.key, self.model, facts)
        return ended

    def facts(self) -> dict[str, Any]:
        """Provenance that only the worker knows."""
        return {
            "parameters_total": self.total_parameters,
            "parameters_trained": self.trained_parameters,
            "bands_used": self.data.prepared.facts.num_bands,
            "device": self.seat.device.type,
            "train_labels": self.data.task.train_count,
            "validation_labels": self.data.task.validation_count,
            "classes_trained": self.data.task.classes_trained,
            "best_step": self.progress.best_step,
        }

    # ---- state

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        sums = np.zeros(self.seat.world_size)
        sums[self.seat.rank] = self.progress.loss_sum
        loss_sums = self.seat.sum(sums).tolist()  # each rank goes on with its own
        if self.seat.rank == 0:
            state = {
                "loss_sums": loss_sums,
                "model": self.model.state_dict(),
                **self.optimisation.state_dict(),
                **vars(self.progress),
            }
            checkpoints.save(self.job["storage"], self.spec.key, int(self.job["attempt"]), state)
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
        self.model.load_state_dict(state["model"])
        self.optimisation.load_state_dict(state)
        self.progress = Progress(**{f.name: state[f.name] for f in fields(Progress) if f.name in state})
        self.progress.loss_sum = state["loss_sums"][self.seat.rank]
        return int(state["attempt"]) != int(self.job["attempt"])
