"""The README of an exported model: what goes in, what comes out, how good it was, and under which terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.prediction.models import FoundModel

FORMULAS = {
    "none": "the numbers as they are",
    "per_band_zscore": "(number - mean_C) / std_C, by band; where std_C is 0 it counts as 1",
    "per_band_minmax": "(number - minimum_C) / (maximum_C - minimum_C), by band; not clipped",
    "scale": "number / scale",
}
FILE_NOTES = {
    "config.json": "bands, wavelengths, classes, normalisation, hyperparameters",
    "model.safetensors": "weights",
    "training_set.safetensors": "normalised features and labels of the training pixels; the model is fitted again from "
    "them when it is loaded. These are data of the data set: its licence applies to this file",
    "example.safetensors": "a few pixels of the training side in stored numbers; the data set's licence applies",
    "model.onnx": "the network with its normalisation inside",
}


def model_readme(model: FoundModel, files: Sequence[str], onnx: Mapping[str, Any]) -> str:
    """The text, in Markdown."""
    facts = model.facts
    parts = [
        f"# {facts['strategy']} on {facts['dataset']}",
        f"Key `{model.key}`. From {model.source}.",
        "## Input",
        _input(facts),
        "## Classes",
        _classes(facts),
        "## Scores",
        _scores(model),
        "## Terms",
        _terms(model),
        "## Files",
        "\n".join(f"- `{name}`: {FILE_NOTES[name]}" for name in files if name in FILE_NOTES),
        "## Use",
        _use(facts, onnx),
    ]
    return "\n\n".join(parts) + "\n"


def _input(facts: Mapping[str, Any]) -> str:
    waves = facts.get("wavelengths_nm")
    dropped = facts.get("dropped_bands") or ()
    lines = [
        f"- {facts['num_bands']} bands, in the order of the data set",
        f"- band centres: {min(waves):g} to {max(waves):g} nm; all of them in `config.json`, `wavelengths_nm`"
        if waves
        else "- band centres: the data set states none",
        f"- bands of the original file that were dropped (from 0): {', '.join(map(str, dropped)) or 'none'}",
        f"- quantity: {facts.get('quantity', 'raw')}; stored number / {facts.get('scale', 1):g} = physical quantity",
        f"- normalisation `{facts['normalisation']}`: {FORMULAS.get(facts['normalisation'], 'see config.json')}",
    ]
    return "\n".join(lines)


def _classes(facts: Mapping[str, Any]) -> str:
    rows = [
        f"| {index} | {class_id} | {name} |"
        for index, (class_id, name) in enumerate(zip(facts["class_ids"], facts["class_names"], strict=True))
    ]
    if facts.get("undefined_output"):
        rows.append(f"| {len(rows)} | - | no class: `predict` writes no data |")
    return "\n".join(["| index | id in label files | name |", "|---|---|---|", *rows])


def _scores(model: FoundModel) -> str:
    if not model.scores:
        return "Not known here: the model was not exported from its sweep."
    names = [name for name in ("val/miou", "test/miou", "test/oa", "test/aa", "test/kappa") if name in model.scores]
    rows = [
        f"| {name} | {model.scores[name]:.4f} | "
        + (f"{model.mean_test[name]:.4f} |" if name in model.mean_test else "- |")
        for name in names
    ]
    head = f"| score | this run | mean of the cell's {model.finals} finals |"
    return "\n".join([head, "|---|---|---|", *rows]) + (
        "\n\nThe run was chosen on validation, not on test. The mean over seeds says more than the one run. "
        "Both hold for the data set's own test side, not for other scenes."
    )


def _terms(model: FoundModel) -> str:
    from orchestrator.plan.provenance import SYNTHETIC, used_weights
    from strategies.backbones._spec import NOT_STATED
    from strategies.backbones._specs import get_spec
    from strategies.registry import get_strategy

    lines = [f"- data: {model.licence or 'not known here'}"]
    loaded = used_weights(get_strategy(model.facts["strategy"])(**model.facts["fields"]))
    if loaded is not None and loaded.startswith(SYNTHETIC):
        lines.append(f"- initial weights: random numbers in the layout of {loaded.removeprefix(SYNTHETIC)}")
    elif loaded is not None:
        spec = get_spec(loaded)
        note = f" ({spec.licence_note})" if spec.licence_note else ""
        stated = "not stated" if spec.licence_weights == NOT_STATED else spec.licence_weights
        lines.append(f"- initial weights {spec.name}: {stated}{note}")
    return "\n".join(lines)


def _use(facts: Mapping[str, Any], onnx: Mapping[str, Any]) -> str:
    text = (
        "```bash\nhsfm-sweep predict --model . scene.hdr --to maps\n```\n\n"
        "```python\nfrom pathlib import Path\nfrom orchestrator.prediction import find_model, predict_cube\n\n"
        'prediction = predict_cube("scene.hdr", find_model(Path(".")))\n```\n\n'
    )
    if not onnx.get("file"):
        return f"{text}No ONNX graph: {onnx['reason']}."
    return (
        f"{text}`{onnx['file']}` (opset {onnx['opset']}): input `cube`, float32 [1, {facts['num_bands']}, H, W] in "
        f"stored numbers, {onnx['size']}; output `logits` [1, {len(facts['class_names'])}, H, W]. Compared with the "
        f"original on {onnx['window']}: logits differ by at most {onnx['max_difference']:.2g}, labels in "
        f"{onnx['labels_unequal']} of {onnx['pixels_compared']} pixels. It checks nothing and knows no windows: cut "
        "large scenes yourself, with overlap."
    )
