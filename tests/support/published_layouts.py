"""Keys and shapes of published checkpoints, written as loops over what is known of them, and what tests do with them.

A test lists its model's file with these functions, apart from the model's own code, so that it can find mistakes in it.
`write_manifest` makes the file in `strategies/backbones/manifests` from the same list:

    PYTHONPATH=.:tests/support python tests/strategies/test_hypersl.py
"""

import json
from pathlib import Path

import torch

from strategies.backbones import _specs
from strategies.backbones._keys import map_keys

MANIFESTS = Path(_specs.__file__).parents[1] / "manifests"


def linear(name, outs, ins, *, bias=True):
    """A linear layer, or a convolution where `ins` is a tuple of its other sides."""
    return [(f"{name}.weight", [outs, *(ins if isinstance(ins, tuple) else (ins,))]), *_bias(name, outs, bias)]


def norm(name, width):
    """LayerNorm."""
    return [(f"{name}.weight", [width]), *_bias(name, width, True)]


def batch_norm(name, width):
    """BatchNorm with its running statistics."""
    running = [(f"{name}.running_mean", [width]), (f"{name}.running_var", [width])]
    return [*norm(name, width), *running, (f"{name}.num_batches_tracked", [])]


def vit_block(name, width):
    """timm's block of a vision transformer: joint queries, keys and values with bias, MLP four times as wide."""
    return [
        *norm(f"{name}.norm1", width),
        *linear(f"{name}.attn.qkv", 3 * width, width),
        *linear(f"{name}.attn.proj", width, width),
        *norm(f"{name}.norm2", width),
        *linear(f"{name}.mlp.fc1", 4 * width, width),
        *linear(f"{name}.mlp.fc2", width, 4 * width),
    ]


def entries(keys, kind):
    """A manifest's rows."""
    return [[name, list(shape), kind] for name, shape in keys]


def write_manifest(file, source, rows, **notes):
    """Write a manifest, one key a line."""
    lines = ",\n".join("  " + json.dumps(row) for row in rows)
    head = "".join(f" {json.dumps(key)}: {json.dumps(value)},\n" for key, value in {"source": source, **notes}.items())
    (MANIFESTS / file).write_text(f'{{\n{head} "keys": [\n{lines}\n ]\n}}\n', encoding="utf-8")


def check_manifest(file, rows):
    """The committed manifest lists exactly these rows."""
    assert json.loads((MANIFESTS / file).read_text("utf-8"))["keys"] == rows


def check_full_size(spec, rows, make):
    """Every encoder key of the file has its place and shape in the model, and none of the model is left over.

    Args:
        spec: the datasheet.
        rows: the file's keys.
        make: makes the model; it is called on torch's meta device.
    """
    with torch.device("meta"):
        model = make()
    expected = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    keys = map_keys([name for name, _, _ in rows], spec)
    assert keys.unexpected == []
    assert set(keys.dropped) == {name for name, _, kind in rows if kind == "dropped"}
    assert {keys.mapped[name]: shape for name, shape, kind in rows if kind == "encoder"} == expected


def random_state(rows, *, std=0.02):
    """Random tensors under these keys."""
    state = {name: torch.randn(shape) * std if shape else torch.tensor(7) for name, shape, _ in rows}
    return {key: value.abs() + 0.5 if key.endswith("running_var") else value for key, value in state.items()}


def random_file(path, rows, *, top_key, extra=None):
    """A checkpoint with random tensors under these keys, beside what trainings leave in such files."""
    state = random_state(rows)
    torch.save({top_key: state, **(extra or {})} if top_key else state, path)
    return state


def _bias(name, width, there):
    return [(f"{name}.bias", [width])] if there else []
