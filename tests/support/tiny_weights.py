"""A made-up published checkpoint of a few numbers, with everything that real ones bring along."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from strategies.backbones import _synthetic
from strategies.backbones._spec import NOT_STATED, WeightsSpec
from strategies.backbones._specs import all_specs

NAME = "tiny_model"
ROWS = [
    ["module.encoder.embed.weight", [4, 3], "encoder"],
    ["module.encoder.embed.bias", [4], "encoder"],
    ["module.encoder.norm.weight", [4], "encoder"],
    ["module.encoder.norm.bias", [4], "encoder"],
    ["module.encoder.layer0.attention.weight", [12, 4], "encoder"],
    ["module.encoder.layer0.bn.running_mean", [4], "encoder"],
    ["module.encoder.layer0.bn.running_var", [4], "encoder"],
    ["module.encoder.layer0.bn.num_batches_tracked", [], "encoder"],
    ["module.decoder.weight", [300, 200], "dropped"],
    ["module.mask_token7", [1, 4], "dropped"],
]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.Linear(4, 12, bias=False)
        self.bn = nn.BatchNorm1d(4, affine=False)


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 4)
        self.norm = nn.LayerNorm(4)
        self.blocks = nn.ModuleList([Block()])


SPEC = WeightsSpec(
    name=NAME,
    title="a few numbers",
    file="weights/tiny/checkpoint.pth",
    architecture="tiny_weights:Tiny",
    top_keys=("state_dict", "model"),
    stripped=("module.", "encoder."),
    dropped=("decoder",),
    dropped_patterns=(r"mask_token\d",),
    renamed=((r"^layer(\d+)\.", r"blocks.\1."), (r"\.attention\.", ".attn.")),
    safe_globals=("argparse.Namespace",),
    manifest="tiny.json",
    licence_code="MIT",
    licence_weights="CC-BY-4.0",
    datasets=("nowhere",),
)
GUARDED = replace(SPEC, licence_weights=NOT_STATED, licence_note="all rights reserved", consent="tiny")


def register(monkeypatch: pytest.MonkeyPatch, folder: Path, spec: WeightsSpec = SPEC) -> WeightsSpec:
    """Add the checkpoint to the registry for one test; its manifest lies in `folder`."""
    manifests = folder / "manifests"
    manifests.mkdir(exist_ok=True)
    for file in _synthetic.MANIFESTS.glob("*.json"):
        (manifests / file.name).symlink_to(file)
    (manifests / "tiny.json").write_text(json.dumps({"source": "a test", "keys": ROWS}))
    monkeypatch.setattr(_synthetic, "MANIFESTS", manifests)
    monkeypatch.setitem(all_specs(), spec.name, spec)
    _synthetic.read_manifest.cache_clear()
    _synthetic.synthetic_identity.cache_clear()
    return spec


def published(seed: int = 0) -> dict[str, Any]:
    """What a training script has left: tensors below a key, beside an optimiser and its settings."""
    generator = torch.Generator().manual_seed(seed)
    state = {name: torch.rand(shape, generator=generator) for name, shape, _ in ROWS}
    state["module.encoder.layer0.bn.num_batches_tracked"] = torch.tensor(7)
    return {"model": state, "optimizer": {"state": {}}, "epoch": 3, "args": argparse.Namespace(lr=1e-3)}


def save(path: Path, content: Any = None) -> Path:
    """The made-up published file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(published() if content is None else content, path)
    return path
