"""Whole images of different sizes on two ranks: the same gradients as in one process."""

from __future__ import annotations

import gc
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from orchestrator.config import TrainConfig
from orchestrator.datasets.locations import DataLocations
from orchestrator.datasets.prepare import prepare
from orchestrator.datasets.store import open_prepared
from orchestrator.execution.seat import Seat
from orchestrator.execution.training import NetworkRun
from orchestrator.plan.cells import LabelBudget
from orchestrator.plan.run_spec import RunSpec
from orchestrator.plan.slots import resolve_train
from strategies._base import field_values
from strategies.registry import get_strategy
from tests.datasets.made_data import made_scene, write_yaml

SIZES_PX = [(17, 40), (40, 23), (24, 24), (33, 19)]


@pytest.fixture(scope="module")
def images_of_four_sizes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared store of an image set: two images train, and no two have the same shape."""
    folder = tmp_path_factory.mktemp("sizes")
    for index, (height, width) in enumerate(SIZES_PX):
        cube, labels = made_scene(index, height, width)
        np.save(folder / f"cube{index}.npy", cube)
        np.save(folder / f"labels{index}.npy", labels)
    path = write_yaml(
        folder,
        image_size_px=[40, 40],
        images=[{"cube": f"cube{i}.npy", "labels": f"labels{i}.npy"} for i in range(len(SIZES_PX))],
        split_lists={"train": ["cube0", "cube1"], "validation": ["cube2"], "test": ["cube3"]},
    )
    return prepare(str(path), DataLocations(data_root=None, cache=folder / "cache"))


def _spec(prepared: Path, loss_average: str) -> RunSpec:
    strategy = get_strategy("in_domain/unet")(width=8, dropout=0.0)  # its masks are drawn per rank
    train = TrainConfig(patch_size=0, batch_size=2, steps=1, evaluations=1, world_size=2, loss_average=loss_average)
    return RunSpec(
        strategy="in_domain/unet",
        fields=field_values(strategy),
        dataset="made",
        dataset_digest=open_prepared(prepared).digest,
        split="images",
        fold=0,
        label_budget=LabelBudget.parse(1.0),
        selection="validation_matched",
        stage="search",
        seed=0,
        subset_seed=0,
        train=resolve_train(strategy, train),
        metric="miou",
    )


def _rank(rank: int, port: int, specs: list[dict[str, Any]], prepared: str, storage: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    for number, plain in enumerate(specs):
        spec = RunSpec.from_json(plain)
        seats = [Seat(rank=r, world_size=2, device=torch.device("cpu"), tell=lambda _: "", first=None) for r in (0, 1)]
        job = {"prepared_path": prepared, "storage": storage, "attempt": 1, "until_step": 1, "weights_path": None}
        run = NetworkRun(spec, job, get_strategy(spec.strategy)(**spec.fields), seats[rank])
        net = DistributedDataParallel(run.model)
        run.backward(net, 0)
        drawn = [run.batches.draw(0, seat) for seat in seats]
        found = {name: p.grad.clone() for name, p in run.model.named_parameters()}
        # In one process: every image by itself, the sum of all losses over the number of pixels.
        run.model.zero_grad()
        everything = spec.train.get("loss_average") == "all"
        pixels = sum(y.numel() if everything else int((y >= 0).sum()) for _, y in drawn)
        for x, y in drawn:
            (cross_entropy(run.model(x), y, ignore_index=-1, reduction="sum") / pixels).backward()
        wanted = {name: p.grad for name, p in run.model.named_parameters()}
        shapes = [list(y.shape) for _, y in drawn]
        torch.save({"found": found, "wanted": wanted, "shapes": shapes}, f"{storage}/{number}-{rank}.pt")
        dist.barrier()
        del net, run
    gc.collect()  # DDP's reducer holds the process group: it must be gone before gloo's threads are
    dist.destroy_process_group()


def test_two_ranks_with_images_of_different_sizes_have_the_gradients_of_one_process(
    images_of_four_sizes: Path, tmp_path: Path
) -> None:
    specs = [_spec(images_of_four_sizes, average).to_json() for average in ("labelled", "all")]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(_rank, args=(port, specs, str(images_of_four_sizes), str(tmp_path)), nprocs=2)
    for number in range(len(specs)):
        ranks = [torch.load(tmp_path / f"{number}-{rank}.pt", weights_only=True) for rank in (0, 1)]
        assert sorted(ranks[0]["shapes"]) == [[1, 17, 40], [1, 40, 23]]
        for found in ranks:
            assert found["found"].keys() == found["wanted"].keys()
            for name, gradient in found["wanted"].items():
                torch.testing.assert_close(found["found"][name], gradient, rtol=1e-4, atol=1e-7)
                assert gradient.abs().max() > 0
