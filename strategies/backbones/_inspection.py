"""Looking into a checkpoint's file: whether it fits its model and is the published one, and whose it seems to be.

The model is made on torch's meta device and the file is mapped, not read: only its checksum takes its size in time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from strategies._checks import StrategyError
from strategies.backbones._keys import strip
from strategies.backbones._loading import CheckReport, Fit, count, fit, make_architecture
from strategies.backbones._places import damage, file_sha256
from strategies.backbones._reading import Checkpoint, read_checkpoint
from strategies.backbones._spec import WeightsSpec
from strategies.backbones._specs import all_specs
from strategies.backbones._synthetic import identity_in, read_manifest

LIKELY = 0.5
"""Share of names and shapes that must agree before a file is said to be a model's."""
SURE = 0.98
"""The same, before a file is checked as a model's without having been told its name."""


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What a file holds, held against a datasheet."""

    report: CheckReport
    missing: tuple[str, ...]
    """Keys of the model that the file lacks and must hold."""
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]
    stem: str
    """Where the layer that the bands go into gets its weights from, in words."""
    sha256: str
    size_bytes: int
    origin: str
    """What kind of file it is: the published one, a converted one, synthetic, or one without a known checksum."""
    damage: str
    """Why the loader would refuse it before it looks at a key; empty where it would not."""

    @property
    def problems(self) -> str:
        """Everything that is not allowed, in words; empty where the file can be used."""
        lists = Fit(
            arriving={}, dropped=(), absent=(), missing=self.missing, unexpected=self.unexpected,
            misshapen=self.misshapen,
        )  # fmt: skip
        return "; ".join(text for text in (lists.problems, self.damage) if text)


@dataclass(frozen=True, kw_only=True)
class Resemblance:
    """How much of a file's names and shapes a known checkpoint has as well."""

    name: str
    share: float
    """Of names and shapes together."""
    share_of_names: float
    """Of names alone: all of them but few shapes is another size of the model."""


def inspect(spec: WeightsSpec, file: Path) -> Inspection:
    """Hold a file against a datasheet.

    Raises:
        StrategyError: it cannot be read as plain tensors.
    """
    checkpoint = read_checkpoint(file, spec)
    model = make_architecture(spec, on_meta=True)
    found = fit(checkpoint, model.state_dict(), spec)
    identity = identity_in(file)
    return Inspection(
        report=count(model, checkpoint, spec, found, source=str(file)),
        missing=found.missing,
        unexpected=found.unexpected,
        misshapen=found.misshapen,
        stem=_stem(spec, found),
        sha256=file_sha256(file),
        size_bytes=file.stat().st_size,
        origin=_origin(spec, checkpoint, is_synthetic=bool(identity)),
        damage=damage(spec, file, synthetic=identity),
    )


def resembling(file: Path) -> list[Resemblance]:
    """The known checkpoints that a file looks like, the nearest first.

    Raises:
        StrategyError: it cannot be read as plain tensors.
    """
    checkpoint = read_checkpoint(file, None)
    shapes = {name: tuple(tensor.shape) for name, tensor in checkpoint.tensors.items()}
    found = []
    for spec in all_specs().values():
        # a manifest that is lost is told where it is needed: it does not stop the search among the others
        with contextlib.suppress(StrategyError):
            found += [_resemblance(spec, spec.manifest, shapes)] if spec.manifest is not None else []
    likely = [one for one in found if one.share_of_names >= LIKELY]
    return sorted(likely, key=lambda one: (-one.share, -one.share_of_names, one.name))


def recognise(file: Path) -> str:
    """Name of the checkpoint that a file can only be.

    Raises:
        StrategyError: none, or the file cannot be read as plain tensors.
    """
    found = resembling(file)
    if not found or found[0].share < SURE:
        raise StrategyError(f"{file} is no checkpoint that is known here{described(found)}; add --as NAME")
    return found[0].name


def described(found: list[Resemblance]) -> str:
    """The nearest known checkpoint in words, after a comma; empty where there is none."""
    if not found:
        return ""
    best = found[0]
    if best.share >= LIKELY:
        return f", it looks like {best.name!r} ({best.share:.0%} of names and shapes agree)"
    return f", its names are those of {best.name!r}, its shapes are not: it seems to be another size of that model"


def _resemblance(spec: WeightsSpec, manifest: str, shapes: Mapping[str, tuple[int, ...]]) -> Resemblance:
    theirs = {strip(key.name, spec): key.shape for key in read_manifest(manifest)}
    ours = {strip(name, spec): shape for name, shape in shapes.items()}
    # what every model drops may be absent from a copy, so only the encoder must agree as a whole
    needed = {strip(key.name, spec) for key in read_manifest(manifest) if key.kind == "encoder"}
    names = theirs.keys() & ours.keys()
    same = {name for name in names if theirs[name] == ours[name]}
    all_names = needed | ours.keys()
    return Resemblance(
        name=spec.name, share=len(same & all_names) / len(all_names), share_of_names=len(names) / len(all_names)
    )


def _stem(spec: WeightsSpec, found: Fit) -> str:
    if found.missing or found.misshapen:
        return "random: the file does not fill the model"
    if spec.stem == "new":
        return "new: the bands go through a layer before the model's input, which is trained from scratch"
    if found.absent:
        return f"partly random: {len(found.absent)} keys of the model are not in the file, as allowed"
    return "pretrained: every key of the model is in the file"


def _origin(spec: WeightsSpec, checkpoint: Checkpoint, *, is_synthetic: bool) -> str:
    if is_synthetic:
        return "synthetic numbers, for init synthetic only"
    if checkpoint.is_converted:
        return "converted"
    return "published" if spec.sha256 else "unknown: nobody has published a checksum"
