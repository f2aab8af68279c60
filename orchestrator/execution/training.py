"""Train one run segment of a network on one rank of a worker group, and score its end on the test side."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from orchestrator.errors import ExecutionError
from orchestrator.execution import gradients
from orchestrator.execution.batches import Batches
from orchestrator.execution.evaluation import confusion_of_network, score_test, validation_scores
from orchestrator.execution.feature_store import FeatureStore, HeadOfModel
from orchestrator.execution.model_building import build_model
from orchestrator.execution.model_facts import model_facts
from orchestrator.execution.optimisation import Optimisation
from orchestrator.execution.run_data import RunData
from orchestrator.execution.saved_model import save_network
from orchestrator.execution.seat import Seat
from orchestrator.execution.segment_loop import SegmentLoop
from orchestrator.plan.run_spec import RunSpec
from strategies._base import Strategy
from strategies.adaptation import count_parameters
from strategies.objectives.segmentation import class_balanced_weights

IMPLEMENTATION_VERSION = 1


class NetworkRun(SegmentLoop):
    """One rank's view of the training of one run."""

    def __init__(self, spec: RunSpec, job: dict[str, Any], strategy: Strategy, seat: Seat) -> None:
        super().__init__(spec, job, seat)
        self.strategy = strategy
        if seat.world_size != int(self.train["world_size"]):
            raise ExecutionError(
                f"this run is defined for train.world_size={self.train['world_size']}, but its worker group has "
                f"{seat.world_size} workers; give all networks of a sweep the same world size"
            )
        self.data = RunData(spec, job["prepared_path"])
        self.features = FeatureStore.of(spec, job, self.data, strategy)
        self.batches = Batches(self.data, spec, strategy, self.features)
        self.micro_batches = int(job.get("micro_batches", 1))
        self.model = build_model(spec, job, strategy, self.data, self.batches.patch_px).to(seat.device)
        self.total_parameters, self.trained_parameters = count_parameters(self.model)
        self.objective = strategy.training_objective(self.model)
        if self.objective is not None:
            self.objective.to(seat.device)
        self.trained = self.objective if self.objective is not None else self.model
        groups = strategy.parameter_groups(self.trained)
        if self.features is not None:
            self.trained = HeadOfModel(self.model)
        self.optimisation = Optimisation(self.trained, groups, self.train, seat.device)
        self.class_weights_K: torch.Tensor | None = None
        if self.train["loss"] == "class_balanced":
            self.class_weights_K = class_balanced_weights(self.data.class_counts()).to(seat.device)

    @property
    def can_split(self) -> bool:
        """Whether half the micro-batch gives the same gradients."""
        samples = int(self.train["batch_size"]) // self.seat.world_size
        return self.objective is None and gradients.can_split(self.model, samples // self.micro_batches)

    def backward(self, net: nn.Module, step: int) -> float:
        if self.objective is not None:
            return self._backward_of_objective(net, step)
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

    def _backward_of_objective(self, net: nn.Module, step: int) -> float:
        """A loss of the strategy's own: every rank has as many labelled windows, so that DDP's mean is the mean."""
        x, y = self.batches.draw(step, self.seat)
        unlabelled = self.batches.draw_unlabelled(step, self.seat)
        with self.autocast():
            terms = net(x, y, unlabelled, step / int(self.train["steps"]))
        torch.autograd.backward(self.optimisation.scaler.scale(terms["loss"]))
        self.add_terms(terms)
        return float(terms["loss"].detach())

    def after_step(self) -> None:
        if self.objective is not None:
            self.objective.after_step(self.progress.step / int(self.train["steps"]))  # type: ignore[operator]

    def evaluate(self, mean_loss: float) -> None:
        self.progress.scores = {**self.mean_terms("train"), "train/loss": mean_loss}
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

    def _confusion(self, side: str) -> np.ndarray:
        if self.features is not None:
            self.model.eval()
            return self.features.confusion(
                self.model, side, self.seat.device, self.autocast, rank=self.seat.rank, world_size=self.seat.world_size
            )
        return confusion_of_network(
            self.model,
            self.data,
            side,
            strategy=self.strategy,
            device=self.seat.device,
            autocast=self.autocast,
            rank=self.seat.rank,
            world_size=self.seat.world_size,
        )

    def conclude(self) -> dict[str, Any]:
        """Score the chosen checkpoint of a final run on the test side, once, and save the model."""
        if self.spec.stage != "final":
            return {}
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
        found = [getattr(module, "bands_used", None) for module in self.model.modules()]
        used = [number for number in found if isinstance(number, int)]
        return {
            "parameters_total": self.total_parameters,
            "parameters_trained": self.trained_parameters,
            "bands_used": min(used, default=self.data.prepared.facts.num_bands),
            "device": self.seat.device.type,
            "train_labels": self.data.task.train_count,
            "validation_labels": self.data.task.validation_count,
            "classes_trained": self.data.task.classes_trained,
            "best_step": self.progress.best_step,
        }
