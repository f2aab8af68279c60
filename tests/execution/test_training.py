"""Training: exact resume, honest data parallelism, numbers that depend on the run's specification alone."""

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
from safetensors.torch import load_file

from orchestrator.errors import ExecutionError
from orchestrator.execution import checkpoints, training
from orchestrator.execution.model_building import build_model
from orchestrator.execution.run_data import RunData
from orchestrator.execution.saved_model import SavedModel
from orchestrator.execution.streams import BatchOrder
from orchestrator.execution.training import NetworkRun
from orchestrator.plan.run_spec import RunSpec
from tests.execution.conftest import Killed, run_network

SMALL = {"steps": 8, "evaluations": 4, "batch_size": 2, "patch_size": 16, "pixel_batch_size": 16}


def _weights(event: dict[str, Any]) -> dict[str, torch.Tensor]:
    return load_file(Path(event["model_folder"]) / "model.safetensors")


def _same_bits(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("name", ["in_domain/unet", "in_domain/spectral_cnn"])
def test_a_killed_and_resumed_run_ends_bit_identical(
    name: str, make_spec: Any, indian_pines: Path, tmp_path: Path
) -> None:
    spec = make_spec(name, **SMALL, augmentation="flips")
    whole = run_network(spec, indian_pines, tmp_path / "whole")
    with pytest.raises(Killed):
        run_network(spec, indian_pines, tmp_path / "cut", die_at=4)
    resumed = run_network(spec, indian_pines, tmp_path / "cut", attempt=2)
    assert resumed["scores"] == whole["scores"]
    assert resumed["evaluation"] == whole["evaluation"]
    assert _same_bits(_weights(resumed), _weights(whole))


def test_a_run_that_is_told_to_stop_between_evaluations_goes_on_bit_identical(
    make_spec: Any, indian_pines: Path, tmp_path: Path
) -> None:
    spec = make_spec("in_domain/spectral_cnn", **{**SMALL, "steps": 30, "evaluations": 2})
    whole = run_network(spec, indian_pines, tmp_path / "whole")
    stopped = run_network(spec, indian_pines, tmp_path / "cut", stop_at_tick=True)
    assert (stopped["kind"], stopped["step"]) == ("cancelled", 10)
    resumed = run_network(spec, indian_pines, tmp_path / "cut", attempt=2)
    assert resumed["scores"] == whole["scores"]


def test_segments_up_to_a_rung_and_on_end_like_one_training(make_spec: Any, indian_pines: Path, tmp_path: Path) -> None:
    spec = make_spec("in_domain/unet", stage="search", **SMALL)
    whole = run_network(spec, indian_pines, tmp_path / "whole")
    first = run_network(spec, indian_pines, tmp_path / "parts", until=4)
    second = run_network(spec, indian_pines, tmp_path / "parts")
    assert first["step"] == 4
    assert second["scores"] == whole["scores"]


def test_another_seed_gives_another_model(make_spec: Any, indian_pines: Path, tmp_path: Path) -> None:
    one = run_network(make_spec("in_domain/spectral_cnn", **SMALL), indian_pines, tmp_path)
    two = run_network(make_spec("in_domain/spectral_cnn", seed=1, **SMALL), indian_pines, tmp_path)
    assert not _same_bits(_weights(one), _weights(two))


def test_a_checkpoint_of_another_run_is_refused(make_spec: Any, indian_pines: Path, tmp_path: Path) -> None:
    spec = make_spec("in_domain/spectral_cnn", **SMALL)
    checkpoints.save(str(tmp_path), spec.key, 1, {"step": 4})
    moved = tmp_path / "0123456789abcdef"
    (tmp_path / spec.key).rename(moved)
    with pytest.raises(ExecutionError, match="not of '0123456789abcdef'"):
        checkpoints.load_newest(str(tmp_path), moved.name)


def test_a_torn_checkpoint_is_passed_over_for_an_older_one(tmp_path: Path) -> None:
    checkpoints.save(str(tmp_path), "k", 1, {"step": 2})
    checkpoints.save(str(tmp_path), "k", 2, {"step": 4})
    torn = tmp_path / "k" / "attempt-2" / "last.pt"
    torn.write_bytes(torn.read_bytes()[:200])
    state = checkpoints.load_newest(str(tmp_path), "k")
    assert state is not None
    assert state["step"] == 2


def test_training_never_sees_a_pixel_of_the_test_side(make_spec: Any, indian_pines: Path) -> None:
    data = RunData(make_spec("in_domain/unet", **SMALL), str(indian_pines))
    inputs, labels = data.patches(np.arange(64), side=48, seed=1, augmentation="none")
    hidden = np.abs(inputs).sum(1) == 0
    assert hidden.any(), "48-pixel patches of a block split must reach over the training side"
    assert (labels[hidden] == -1).all()
    visible = data.task.train_visible[0]
    assert not (visible & (data.task.test_labels[0] >= 0)).any()


def test_a_run_refuses_a_worker_group_of_another_size_than_its_key_says(
    make_spec: Any, indian_pines: Path, tmp_path: Path
) -> None:
    with pytest.raises(ExecutionError, match="world_size=2"):
        run_network(make_spec("in_domain/spectral_cnn", world_size=2, **SMALL), indian_pines, tmp_path)


def test_ranks_take_disjoint_samples_that_make_up_the_global_batch() -> None:
    order = BatchOrder(num_samples=100, batch_size=8, seed=3)
    whole = order.batch(5)
    parts = [BatchOrder(num_samples=100, batch_size=8, seed=3).batch(5, rank, 2) for rank in range(2)]
    assert not set(parts[0]) & set(parts[1])
    assert sorted(np.concatenate(parts)) == sorted(whole)


def test_an_epoch_visits_every_sample_once() -> None:
    order = BatchOrder(num_samples=40, batch_size=8, seed=3)
    assert sorted(np.concatenate([order.batch(s) for s in range(5)])) == list(range(40))


def test_the_saved_model_predicts_a_raw_cube_of_another_size(
    make_spec: Any, indian_pines: Path, tmp_path: Path
) -> None:
    event = run_network(make_spec("in_domain/unet", **SMALL), indian_pines, tmp_path)
    model = SavedModel(event["model_folder"])
    labels = model.predict(np.random.default_rng(0).integers(0, 8000, (37, 53, 200)).astype(np.uint16))
    assert labels.shape == (37, 53)
    assert labels.max() < 16


def _first(ask: Any) -> Any:
    box = [ask() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def _rank(
    rank: int, world_size: int, port: int, spec_json: dict[str, Any], prepared: str, storage: str, out: str, ready: Any
) -> None:  # noqa: ARG001
    from orchestrator.execution.seat import Seat
    from strategies.registry import get_strategy

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world_size)
    spec = RunSpec.from_json(spec_json)
    job = {
        "prepared_path": prepared,
        "storage": storage,
        "attempt": 1,
        "until_step": spec.train["steps"],
        "weights_path": None,
    }
    seat = Seat(rank=rank, world_size=world_size, device=torch.device("cpu"), tell=lambda _: "", first=_first)
    event = NetworkRun(spec, job, get_strategy(spec.strategy)(**spec.fields), seat).run()
    if rank == 0:
        torch.save({"scores": event["scores"]}, out)
    dist.barrier()
    gc.collect()  # DDP's reducer holds the process group: it must be gone before gloo's threads are
    dist.destroy_process_group()


def test_two_workers_agree_with_one_on_the_same_global_batch(
    make_spec: Any, indian_pines: Path, tmp_path: Path
) -> None:
    # Dropout off: its masks are drawn per rank. What is left differs by the order of summation alone.
    train = {"stage": "search", "steps": 6, "evaluations": 2, "pixel_batch_size": 16, "fields": {"dropout": 0.0}}
    spec = make_spec("in_domain/spectral_cnn", **train)
    spec_of_two = make_spec("in_domain/spectral_cnn", world_size=2, **train)
    assert spec_of_two.key != spec.key, "the world size is part of the key"
    one = run_network(spec, indian_pines, tmp_path / "one")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    out = tmp_path / "two.pt"
    mp.spawn(
        _rank, args=(2, port, spec_of_two.to_json(), str(indian_pines), str(tmp_path / "two"), str(out), None), nprocs=2
    )
    two = torch.load(out, weights_only=True)["scores"]
    single = checkpoints.load_newest(str(tmp_path / "one"), spec.key)
    double = checkpoints.load_newest(str(tmp_path / "two"), spec_of_two.key)
    assert single is not None
    assert double is not None
    for name, value in single["model"].items():
        torch.testing.assert_close(double["model"][name], value, rtol=1e-4, atol=1e-5)
    assert two["train/loss"] == pytest.approx(one["scores"]["train/loss"], rel=1e-4)


def test_training_on_whole_images_ends_early_when_validation_does_not_improve(
    make_spec: Any, indian_pines: Path, tmp_path: Path
) -> None:
    spec = make_spec(
        "in_domain/unet",
        fields={"learning_rate": 1e-8},
        steps=12,
        evaluations=12,
        early_stopping=2,
        patch_size=0,
        batch_size=1,
        schedule="constant",
        loss_average="all",
    )
    ended = run_network(spec, indian_pines, tmp_path)
    state = checkpoints.load_newest(str(tmp_path), spec.key)
    assert state is not None
    assert ended["kind"] == "reached"
    assert ended["step"] == 12
    assert state["is_over"]
    assert state["step"] < 12
    assert "test/miou" in ended["scores"]


def test_a_batch_in_two_parts_gives_the_same_gradients(make_spec: Any, indian_pines: Path, tmp_path: Path) -> None:
    spec = make_spec("in_domain/spectral_cnn", fields={"dropout": 0.0}, steps=6)
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    run_network(spec, indian_pines, whole)
    run_network(spec, indian_pines, halves, micro_batches=2)
    first, second = (checkpoints.load_newest(str(folder), spec.key) for folder in (whole, halves))
    assert first is not None
    assert second is not None
    for name, value in first["model"].items():
        torch.testing.assert_close(second["model"][name], value, rtol=1e-3, atol=1e-4)  # AdamW enlarges the last bits


def test_half_precision_trains_and_resumes_with_its_scaler(make_spec: Any, indian_pines: Path, tmp_path: Path) -> None:
    spec = make_spec("in_domain/spectral_cnn", steps=8, evaluations=4, precision="fp16")
    calm, shaken = tmp_path / "calm", tmp_path / "shaken"
    ended = run_network(spec, indian_pines, calm)
    with pytest.raises(Killed):
        run_network(spec, indian_pines, shaken, die_at=4)
    assert run_network(spec, indian_pines, shaken, attempt=2)["scores"] == ended["scores"]


def _exchange(model: torch.nn.Module, one: int, other: int) -> None:
    """Let a network say `one` where it would say `other`, and the other way round, when it predicts."""
    order = list(range(17))
    order[one], order[other] = other, one
    model.register_forward_hook(lambda module, _, logits: logits if module.training else logits[:, order])


@pytest.mark.parametrize("name", ["in_domain/unet", "in_domain/spectral_cnn"])
def test_an_undefined_output_is_counted_in_a_column_of_its_own(
    name: str, make_spec: Any, indian_pines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**SMALL, "loss": "class_balanced", "checkpoint": "last"}
    spec = make_spec(name, **settings, undefined_output=True)
    assert spec.key != make_spec(name, **settings).key
    first = run_network(spec, indian_pines, tmp_path / "first")
    units = np.array([unit["confusion"] for unit in first["evaluation"]["units"]])
    assert units.shape[1:] == (17, 17)
    hits = units.sum(0).diagonal()
    exchanged = int(np.flatnonzero(hits)[hits[hits > 0].argmin()])

    def exchanging(*arguments: Any) -> torch.nn.Module:
        model = build_model(*arguments)
        _exchange(model, exchanged, 16)
        return model

    monkeypatch.setattr(training, "build_model", exchanging)
    event = run_network(spec, indian_pines, tmp_path / "second")
    units = np.array([unit["confusion"] for unit in event["evaluation"]["units"]])
    assert not units[:, 16].any()
    assert units[:, :, 16].any()
    scores = event["scores"]
    assert scores["test/compat_oa"] == pytest.approx(scores["test/oa"])
    assert scores["test/compat_miou"] == pytest.approx(scores["test/miou"])
    # the papers' convention counts one class more as soon as a labelled pixel is predicted as undefined
    assert scores["test/compat_aa"] < scores["test/aa"]


def test_settings_at_their_default_leave_keys_as_they_were(make_spec: Any) -> None:
    assert "undefined_output" not in make_spec("in_domain/unet", **SMALL).train
    assert "undefined_output" not in make_spec("in_domain/svm_rbf", undefined_output=True).train
    assert make_spec("in_domain/unet", **SMALL, undefined_output=True).train["undefined_output"] is True


def test_a_saved_model_gives_no_class_where_it_says_undefined(
    make_spec: Any, indian_pines: Path, tmp_path: Path
) -> None:
    spec = make_spec("in_domain/unet", **{**SMALL, "steps": 1, "evaluations": 1}, undefined_output=True)
    event = run_network(spec, indian_pines, tmp_path)
    model = SavedModel(event["model_folder"])
    cube_HWC = np.random.default_rng(0).integers(0, 8000, (37, 53, 200)).astype(np.uint16)
    said = int(np.unique(model.predict(cube_HWC))[0])
    _exchange(model.network, said, 16)
    best_HW = model.logits(cube_HWC).argmax(0)
    assert (best_HW == 16).any()
    assert np.array_equal(model.predict(cube_HWC), np.where(best_HW == 16, -1, best_HW))


def test_evaluations_that_no_driver_heard_of_are_told_by_the_next_attempt(
    make_spec: Any, indian_pines: Path, tmp_path: Path
) -> None:
    spec = make_spec("in_domain/spectral_cnn", steps=8, evaluations=4)
    calm: list[dict[str, Any]] = []
    run_network(spec, indian_pines, tmp_path / "calm", told=calm)
    first: list[dict[str, Any]] = []
    with pytest.raises(Killed):
        run_network(spec, indian_pines, tmp_path / "shaken", die_at=4, told=first)
    second: list[dict[str, Any]] = []
    run_network(spec, indian_pines, tmp_path / "shaken", attempt=2, told=second)

    def points(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [point for event in events if event["kind"] == "progress" for point in event["points"]]

    def plain(events: list[dict[str, Any]]) -> list[tuple[int, dict[str, float]]]:
        return [(point["step"], point["scores"]) for point in points(events)]

    assert 4 not in [point["step"] for point in points(first)], "the killed attempt has told of it"
    assert plain(second) == plain(calm)
    assert points(second)[0] == points(first)[0], "the same point with another time would be doubled in MLflow"


def test_a_checkpoint_that_cannot_be_read_is_named_and_passed_over(
    make_spec: Any, indian_pines: Path, tmp_path: Path
) -> None:
    spec = make_spec("in_domain/spectral_cnn", steps=8, evaluations=4)
    whole = run_network(spec, indian_pines, tmp_path / "calm")
    with pytest.raises(Killed):
        run_network(spec, indian_pines, tmp_path, die_at=4)
    file = next(tmp_path.glob(f"{spec.key}/attempt-1/last.pt"))
    file.write_bytes(file.read_bytes()[:1000])
    told: list[dict[str, Any]] = []
    again = run_network(spec, indian_pines, tmp_path, attempt=2, told=told)
    assert again["scores"] == whole["scores"]
    (note,) = [event["text"] for event in told if event["kind"] == "note"]
    assert str(file) in note
    assert "goes on from step 0" in note
