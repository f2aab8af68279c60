"""DOFA base and large: torchgeo's copies of the encoder, and the authors' own files."""

from __future__ import annotations

from typing import Any

from strategies.backbones._spec import WeightsSpec

_TORCHGEO = "torchgeo/dofa", "b8db318b64a90b9e085ec04ba8851233c5893666"
_AUTHORS = "earthflow/DOFA", "main"
_COMMON: dict[str, Any] = {
    # of pretraining only: what stands for hidden patches, the projection to a teacher and the pooled features' norm
    "dropped": ("mask_token", "projector", "norm", "fc_norm", "head"),
    "licence_code": "MIT",
    "licence_weights": "CC-BY-4.0",
    "wavelength_unit": "um",
    "wavelength_range_nm": (420.0, 2450.0),
    "normalisation": "per-band z-scores",
    "datasets": ("satlas_pretrain", "five_billion_pixels", "hyspecnet_11k"),
    "sensors": ("Sentinel-1", "Sentinel-2", "NAIP", "Gaofen", "EnMAP"),
    "citation": "Xiong et al. 2024, arXiv:2403.15356",
}


def _copy(size: str, title: str, file: str, sha256: str) -> WeightsSpec:
    repository, revision = _TORCHGEO
    return WeightsSpec(
        name=f"dofa_{size}",
        title=f"{title}, torchgeo's copy of the encoder",
        file=f"weights/dofa/{file}",
        huggingface=(repository, file, revision),
        sha256=sha256,
        architecture=f"strategies.backbones.dofa:dofa_{size}",
        manifest=f"dofa_{size}.json",
        **_COMMON,
    )


def _original(size: str, title: str, file: str) -> WeightsSpec:
    repository, revision = _AUTHORS
    return WeightsSpec(
        name=f"dofa_{size}_original",
        title=f"{title}, the authors' own file",
        file=f"weights/dofa/{file}",
        huggingface=(repository, file, revision),
        architecture=f"strategies.backbones.dofa:dofa_{size}",
        manifest=f"dofa_{size}_original.json",
        **_COMMON,
    )


_BASE = "DOFA base, masked autoencoding on five satellite sensors"
_LARGE = "DOFA large, masked autoencoding on five satellite sensors"
SPECS = (
    _copy("base", _BASE, "dofa_base_patch16_224-a0275954.pth", "a0275954"),
    _copy("large", _LARGE, "dofa_large_patch16_224-0ff904d3.pth", "0ff904d3"),
    _original("base", _BASE, "DOFA_ViT_base_e100.pth"),
    _original("large", _LARGE, "DOFA_ViT_large_e100.pth"),
)
