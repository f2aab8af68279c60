"""Builds the network of a run: initialised by its seed, filled from what its stages have made."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from orchestrator.execution import checkpoints
from orchestrator.execution.run_data import RunData
from orchestrator.execution.stage_files import ENCODER
from orchestrator.execution.streams import stream_seed
from orchestrator.plan.run_spec import RunSpec
from strategies._base import Strategy


def build_model(spec: RunSpec, job: dict[str, Any], strategy: Strategy, data: RunData, patch_px: int) -> nn.Module:
    """The network of a run, on the CPU.

    Where its features were extracted once for many runs, everything below the head is what that extraction had, and
    the head is the run's own.
    """
    model = build_seeded(spec.seed, job, strategy, data, image_size=patch_px)
    features = [RunSpec.from_json(one) for one in job.get("stages", ()) if one["stage"] == "features"]
    if not features or features[0].seed == spec.seed:
        return model
    extracted = build_seeded(features[0].seed, job, strategy, data, image_size=patch_px)
    extracted.head = model.head
    # the regime was applied to each of the two alike
    return extracted.train(model.training)


def build_seeded(seed: int, job: dict[str, Any], strategy: Strategy, data: RunData, *, image_size: int) -> nn.Module:
    """The network as its strategy makes it, with everything random drawn from one seed."""
    facts = data.prepared.facts
    torch.manual_seed(stream_seed(seed, "initialisation"))
    with weights_of(job) as weights_path:
        model = strategy.build(
            num_bands=facts.num_bands,
            wavelengths_nm=facts.wavelengths_nm,
            num_classes=data.num_outputs,
            image_size=image_size,
            weights_path=weights_path,
        )
    if type(strategy).initialise_from_data is not Strategy.initialise_from_data:
        strategy.initialise_from_data(model, data.some_spectra(seed))
    return model


@contextlib.contextmanager
def weights_of(job: dict[str, Any]) -> Iterator[str | None]:
    """File with the weights that a run starts from: a copy of its own pretraining's, or published ones."""
    keys = [RunSpec.from_json(stage).key for stage in job.get("stages", ()) if stage["stage"] == "pretrain"]
    if not keys:
        path = job.get("weights_path")
        yield None if path is None else str(path)
        return
    with tempfile.TemporaryDirectory() as folder:  # the storage may be an object store, weights are read from a file
        copy = Path(folder) / ENCODER
        copy.write_bytes(checkpoints.read_bytes(job["storage"], keys[0], ENCODER))
        yield str(copy)
