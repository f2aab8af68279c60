"""Panopticon base."""

from __future__ import annotations

from strategies.backbones._spec import WeightsSpec

SPECS = (
    WeightsSpec(
        name="panopticon_base",
        title="Panopticon base, DINOv2 with attention among bands, self-distillation on satellite images",
        file="weights/panopticon/panopticon_vitb14_teacher.pth",
        huggingface=(
            "lewaldm/panopticon",
            "panopticon_vitb14_teacher.pth",
            "c8c2bb9555819e8b2bcedf5b3b00e3bf531554e7",
        ),
        architecture="strategies.backbones.panopticon:panopticon_base",
        # stands for hidden patches in pretraining
        dropped=("mask_token",),
        manifest="panopticon_base.json",
        licence_code="Apache-2.0",
        licence_weights="CC-BY-4.0",
        wavelength_unit="nm",
        wavelength_range_nm=(418.0, 2445.0),
        max_bands=64,
        normalisation="per-band z-scores",
        datasets=("fmow", "mmearth", "satlas_pretrain", "spectral_earth"),
        sensors=("WorldView", "Sentinel-1", "Sentinel-2", "Landsat", "EnMAP"),
        citation="Waldmann et al. 2025, arXiv:2503.10845",
    ),
)
