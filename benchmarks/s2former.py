"""Windows a second of S2Former's reconstruction: pretraining, fine-tuning and dense prediction, against our rivals.

    python benchmarks/s2former.py [--threads 1 2 4] [--windows 64] [--steps 5] [--patch 9] [--bands 200] [--table 12]

All models see windows of the same size and number of bands, of random numbers. `train` is a step of forward, backward
and AdamW on labelled windows, below it the same with a teacher; `pretrain` one of the pretraining stage; `predict`
classifies every pixel of an image. With one thread a second is one of CPU time, which other processes hardly change;
with more it is one of the clock.

Then each improvement is switched off again, one at a time, and measured in pairs of alternating passes, so that the
machine's other load falls on both; last comes the profiler's table of a pretraining step.

Threads: a step of many small operations gets many times slower with more threads than idle cores, since threads wait
for each other; so the default is one. Workers of a sweep use as many
as they have CPUs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections.abc import Callable, Iterator
from unittest import mock

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from strategies._base import Bands, Strategy
from strategies.backbones import s2former, window_attention
from strategies.backbones.window_classifier import WindowClassifier
from strategies.heads import pad_reflected
from strategies.objectives import frequency
from strategies.registry import list_strategies, make_strategy

NUM_CLASSES = 16
IMAGE_PX = 24
WINDOW_FIELDS = ("patch", "patch_px", "window", "side_px")
NAMES = (
    *("cross_domain/s2former", "cross_domain/spectral_mae", "cross_domain/supervised_source"),
    *("in_domain/ssftt", "in_domain/spectralformer"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    cpus = os.cpu_count() or 1
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--windows", type=int, default=64, help="windows a step")
    parser.add_argument("--steps", type=int, default=5, help="passes; the fastest counts")
    parser.add_argument("--patch", type=int, default=9)
    parser.add_argument("--bands", type=int, default=200)
    parser.add_argument("--table", type=int, default=12, help="rows of the profiler's table")
    given = parser.parse_args()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(f"{cpus} CPUs, load {load:.1f}, torch {torch.__version__}, {given.windows} windows of ", end="")
    print(f"{given.patch}x{given.patch} px and {given.bands} bands a step; windows or pixels a second")
    print(f"{'model':32} {'parameters':>10} {'threads':>7} {'pretrain':>9} {'train':>9} {'predict':>9}", flush=True)
    for threads in given.threads:
        torch.set_num_threads(threads)
        for name in NAMES:
            _one(name, threads, given)
    torch.set_num_threads(1)
    _improvements(given)
    _where_the_time_goes(given)


def _one(name: str, threads: int, given: argparse.Namespace) -> None:
    if name not in list_strategies():
        print(f"{name:32} is not there yet: left out")
        return
    strategy = _strategy(name, given.patch)
    if strategy.window_px != given.patch:
        print(f"{name:32} has windows of {strategy.window_px} px: left out")
        return
    model = _build(strategy, given.bands)
    rates = [
        given.windows / _fastest(_pretraining(strategy, given), given.steps) if strategy.has_own_pretraining else None,
        given.windows / _fastest(_training(model, strategy, given), given.steps),
        IMAGE_PX**2 / _fastest(_prediction(model, given.bands), given.steps),
    ]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    columns = " ".join(f"{'-' if rate is None else f'{rate:.0f}':>9}" for rate in rates)
    print(f"{name:32} {parameters:10d} {threads:7d} {columns}", flush=True)
    if strategy.unlabelled_windows:
        aligned = given.windows / _fastest(_aligned_training(model, strategy, given), given.steps)
        label = f"  with DAFT, {strategy.unlabelled_windows} unlabelled more"
        print(f"{label:32} {'':10} {threads:7d} {'':>9} {aligned:9.0f}", flush=True)


def _strategy(name: str, patch: int) -> Strategy:
    plain = make_strategy(name, {"init": "random"})
    field = next((field for field in WINDOW_FIELDS if hasattr(plain, field)), None)
    return make_strategy(name, {"init": "random", **({field: patch} if field else {})})


def _wavelengths(bands: int) -> tuple[float, ...]:
    return tuple(np.linspace(420.0, 2450.0, bands).tolist())


def _build(strategy: Strategy, bands: int) -> nn.Module:
    torch.manual_seed(0)
    return strategy.build(
        num_bands=bands,
        wavelengths_nm=_wavelengths(bands),
        num_classes=NUM_CLASSES,
        image_size=strategy.window_px,
    )


def _pretraining(strategy: Strategy, given: argparse.Namespace) -> Callable[[], None]:
    module = strategy.build_pretrainer([Bands(given.bands, _wavelengths(given.bands), NUM_CLASSES)])
    optimiser = torch.optim.AdamW(module.parameters())
    x = torch.randn(given.windows, given.bands, given.patch, given.patch)
    labels = torch.arange(given.windows) % NUM_CLASSES

    def step() -> None:
        module(x, labels, 0)["loss"].backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def _training(model: nn.Module, strategy: Strategy, given: argparse.Namespace) -> Callable[[], None]:
    optimiser = torch.optim.AdamW(strategy.parameter_groups(model))
    x = torch.randn(given.windows, given.bands, given.patch, given.patch)
    labels = (torch.arange(given.windows) % NUM_CLASSES).view(-1, 1, 1)

    def step() -> None:
        functional.cross_entropy(model.train()(x), labels).backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def _aligned_training(model: nn.Module, strategy: Strategy, given: argparse.Namespace) -> Callable[[], None]:
    objective = strategy.training_objective(model)
    assert objective is not None
    optimiser = torch.optim.AdamW(strategy.parameter_groups(objective))
    x = torch.randn(given.windows, given.bands, given.patch, given.patch)
    unlabelled = torch.randn(strategy.unlabelled_windows, given.bands, given.patch, given.patch)
    labels = (torch.arange(given.windows) % NUM_CLASSES).view(-1, 1, 1)

    def step() -> None:
        objective.train()(x, labels, unlabelled, 0.5)["loss"].backward()
        optimiser.step()
        optimiser.zero_grad()
        objective.after_step(0.5)

    return step


def _prediction(model: nn.Module, bands: int) -> Callable[[], None]:
    image = torch.randn(1, bands, IMAGE_PX, IMAGE_PX)

    def predict() -> None:
        with torch.inference_mode():
            model.eval()(image)

    return predict


def _fastest(call: Callable[[], None], times: int) -> float:
    """Seconds of the fastest call after one to warm up: other processes can only make it slower."""
    call()
    return min(_seconds(call) for _ in range(times))


def _seconds(call: Callable[[], None]) -> float:
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    started = clock()
    call()
    return clock() - started


# ---- each improvement, switched off again


def _improvements(given: argparse.Namespace) -> None:
    strategy = _strategy("cross_domain/s2former", given.patch)
    model = _build(strategy, given.bands)
    calls = {
        "pretrain": (_pretraining(strategy, given), given.windows),
        "predict": (_prediction(model, given.bands), IMAGE_PX**2),
    }
    print("\nimprovements, one thread: the way without -> with, windows or pixels a second")
    for what, way, stage in (
        ("fused attention", _stored_attention, "pretrain"),
        ("fused attention", _stored_attention, "predict"),
        ("transforms as one product", _library_transforms, "pretrain"),
        ("bands resampled once an image", _resampled_in_every_window, "predict"),
        ("windows that fit the cache", _many_windows, "predict"),
    ):
        call, count = calls[stage]
        without, with_it = _alternating(call, way, given.steps)
        print(
            f"  {what:32} {stage:9} {count / without:8.0f} -> {count / with_it:8.0f}  ({without / with_it:.2f} times)",
            flush=True,
        )
    for stage, (call, count) in calls.items():
        without, with_it = _alternating(call, _everything_off, given.steps)
        print(
            f"  {'all of them':32} {stage:9} {count / without:8.0f} -> {count / with_it:8.0f}  "
            f"({without / with_it:.2f} times)",
            flush=True,
        )


def _alternating(
    call: Callable[[], None], way: Callable[[], contextlib.AbstractContextManager[None]], times: int
) -> tuple[float, float]:
    without, with_it = [], []
    for _ in range(times + 1):
        with way():
            without.append(_seconds(call))
        with_it.append(_seconds(call))
    return min(without[1:]), min(with_it[1:])


@contextlib.contextmanager
def _stored_attention() -> Iterator[None]:
    """Attention by the textbook: the map of every head is stored."""

    def attend(query_NTD: torch.Tensor, key_value_NSE: torch.Tensor, num_heads: int) -> torch.Tensor:
        key_NSD, value_NSD = key_value_NSE.chunk(2, dim=-1)
        heads = [x.unflatten(-1, (num_heads, -1)).transpose(1, 2).contiguous() for x in (query_NTD, key_NSD, value_NSD)]
        scores = heads[0] @ heads[1].transpose(-1, -2) / heads[0].shape[-1] ** 0.5
        return (scores.softmax(-1) @ heads[2]).transpose(1, 2).flatten(2)

    with mock.patch.object(window_attention, "attend", attend), mock.patch.object(s2former, "attend", attend):
        yield


@contextlib.contextmanager
def _library_transforms() -> Iterator[None]:
    """Spectra by torch.fft instead of a matrix."""
    with mock.patch.object(frequency, "SMALL_SIDE", 0):
        yield


@contextlib.contextmanager
def _resampled_in_every_window() -> Iterator[None]:
    """Dense prediction as if windows were cut out first: each pixel is resampled p x p times."""

    def features(self: WindowClassifier, x_BCHW: torch.Tensor) -> torch.Tensor:
        height, width = x_BCHW.shape[-2:]
        side = self.window_px
        padded = pad_reflected(x_BCHW, side // 2)
        windows = padded.unfold(2, side, 1).unfold(3, side, 1).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
        parts = [self.window_features(part) for part in windows.split(self.windows_at_once)]
        return torch.cat(parts).view(len(x_BCHW), height, width, -1).permute(0, 3, 1, 2)

    with mock.patch.object(WindowClassifier, "features", features):
        yield


@contextlib.contextmanager
def _many_windows() -> Iterator[None]:
    """Dense prediction of 1024 windows at once."""
    original = WindowClassifier.features

    def features(self: WindowClassifier, x_BCHW: torch.Tensor) -> torch.Tensor:
        with mock.patch.object(self, "windows_at_once", 1024):
            return original(self, x_BCHW)

    with mock.patch.object(WindowClassifier, "features", features):
        yield


@contextlib.contextmanager
def _everything_off() -> Iterator[None]:
    with _stored_attention(), _library_transforms(), _resampled_in_every_window(), _many_windows():
        yield


def _where_the_time_goes(given: argparse.Namespace) -> None:
    step = _pretraining(_strategy("cross_domain/s2former", given.patch), given)
    step()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        step()
    print(f"\nwhere one pretraining step of {given.windows} windows spends its time, one thread")
    table = profiler.key_averages().table(
        sort_by="self_cpu_time_total", row_limit=given.table, max_name_column_width=48
    )
    lines = [line for line in table.splitlines() if line.strip() and not line.startswith("-")]
    print("\n".join(line[:116].rstrip() for line in lines))


if __name__ == "__main__":
    main()
