"""A strategy's own pretraining: one run a source, settings and seed, shared by all cells that build on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from orchestrator.datasets._base import TRAIN, UNLABELLED
from orchestrator.datasets._sides import sides_of
from orchestrator.datasets.statistics import band_statistics
from orchestrator.datasets.store import PreparedDataset
from orchestrator.errors import DataError, ExecutionError
from orchestrator.execution import checkpoints
from orchestrator.execution.normalised_images import NormalisedImages
from orchestrator.execution.optimisation import Optimisation
from orchestrator.execution.run_data import open_store
from orchestrator.execution.seat import Seat
from orchestrator.execution.segment_loop import SegmentLoop
from orchestrator.execution.stage_files import ENCODER
from orchestrator.execution.streams import stream_seed
from orchestrator.execution.windows_of_pixels import UnlabelledPixels
from orchestrator.plan.run_spec import RunSpec
from strategies._base import Bands, Strategy
from strategies.adaptation import count_parameters, parameter_groups

IMPLEMENTATION_VERSION = 1


@dataclass(frozen=True)
class _Visible:
    """What `band_statistics` needs to know of a task."""

    train_visible: tuple[NDArray[np.bool_], ...]


class Source:
    """One data set of a pretraining's pool: which of its pixels are learned from, normalised by their statistics."""

    def __init__(self, prepared: PreparedDataset, spec: RunSpec, *, is_target: bool, is_supervised: bool) -> None:
        valid = [image.valid_HW for image in prepared.images]
        if is_target:
            # of the target only what any of its runs may see in training
            sides = sides_of(prepared, split=spec.split, fold=spec.fold).side_maps
            valid = [mask & (side == TRAIN) for mask, side in zip(valid, sides, strict=True)]
        self.labels = [image.labels_HW for image in prepared.images] if is_supervised and not is_target else None
        statistics = band_statistics(prepared, _Visible(tuple(valid)), str(spec.train["normalisation_scope"]))
        self.images = NormalisedImages(prepared, str(spec.train["normalisation"]), statistics)
        self.visible = valid
        drawn = valid
        if self.labels is not None:
            drawn = [mask & (own != UNLABELLED) for mask, own in zip(valid, self.labels, strict=True)]
        self.pixels = UnlabelledPixels(drawn)
        facts = prepared.facts
        if not self.pixels.count:
            raise DataError(f"source {facts.name!r} has no pixel to learn from; choose another source")
        self.bands = Bands(facts.num_bands, facts.wavelengths_nm, facts.num_classes)

    def draw(self, count: int, side_px: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Windows `[n, C, p, p]` and labels `[n]` (-1 where labels are not used)."""
        places = self.pixels.draw(count, seed)
        windows = self.images.windows_at(places, side_px, self.visible)
        labels = np.full(count, UNLABELLED, dtype=np.int64)
        if self.labels is not None:
            labels[:] = [self.labels[image][row, column] for image, row, column in places]
        return windows, labels


class PretrainRun(SegmentLoop):
    """One rank's view of a pretraining."""

    can_split = False

    def __init__(self, spec: RunSpec, job: dict[str, Any], strategy: Strategy, seat: Seat) -> None:
        super().__init__(spec, job, seat)
        if seat.world_size != int(self.train["world_size"]):
            raise ExecutionError(
                f"this pretraining is defined for train.world_size={self.train['world_size']}, but its worker group "
                f"has {seat.world_size} workers; give all networks of a sweep the same world size"
            )
        self.side_px = strategy.window_px
        self.sources = [self._source(str(name), str(digest)) for name, digest in self.train["datasets"]]
        torch.manual_seed(stream_seed(spec.seed, "initialisation"))
        self.trained: nn.Module = strategy.build_pretrainer([one.bands for one in self.sources]).to(seat.device)
        groups = parameter_groups(self.trained, learning_rate=float(self.train["learning_rate"]))
        self.optimisation = Optimisation(self.trained, groups, self.train, seat.device)

    def _source(self, name: str, digest: str) -> Source:
        prepared = open_store(self.job["prepared_paths"][name])
        if prepared.digest != digest:
            raise DataError(
                f"{name} has digest {prepared.digest}; this pretraining is defined on {digest}; the data changed "
                "meanwhile: start the sweep again"
            )
        is_target = name == self.train["target"]
        return Source(prepared, self.spec, is_target=is_target, is_supervised=bool(self.train["labels"]))

    def backward(self, net: nn.Module, step: int) -> float:
        number = step % len(self.sources)
        seed = stream_seed(self.spec.seed, "pretraining windows", step, self.seat.rank)
        count = int(self.train["batch_size"]) // self.seat.world_size
        windows, labels = self.sources[number].draw(count, self.side_px, seed)
        x_NCpp = torch.from_numpy(windows).to(self.seat.device)
        labels_N = torch.from_numpy(labels).to(self.seat.device)
        with self.autocast():
            terms = net(x_NCpp, labels_N, number)
        torch.autograd.backward(self.optimisation.scaler.scale(terms["loss"]))
        self.add_terms(terms)
        return float(terms["loss"].detach())

    def evaluate(self, mean_loss: float) -> None:
        self.progress.scores = {**self.mean_terms("pretrain"), "pretrain/loss": mean_loss}

    def conclude(self) -> dict[str, Any]:
        """Write the encoder for the runs that build on it."""
        if self.seat.rank == 0:
            from safetensors.torch import save

            state = self.trained.encoder_state()  # type: ignore[operator]
            tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
            checkpoints.write_bytes(self.job["storage"], self.spec.key, ENCODER, save(tensors))
        self.seat.barrier()
        return {}

    def facts(self) -> dict[str, Any]:
        total, trained = count_parameters(self.trained)
        return {"parameters_total": total, "parameters_trained": trained, "device": self.seat.device.type}
