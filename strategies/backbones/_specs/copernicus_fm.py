"""Copernicus-FM base: torchgeo's copy."""

from __future__ import annotations

from strategies.backbones._spec import WeightsSpec

SPECS = (
    WeightsSpec(
        name="copernicus_fm_base",
        title="Copernicus-FM base, masked autoencoding and distillation on the Sentinel missions, torchgeo's copy",
        file="weights/copernicus_fm/CopernicusFM_ViT_base_varlang-085350e4.pth",
        huggingface=(
            "torchgeo/copernicus-fm",
            "CopernicusFM_ViT_base_varlang-085350e4.pth",
            "f395812cc990ba25a451dbb9c9e6d95c8482947e",
        ),
        sha256="085350e4",
        architecture="strategies.backbones.copernicus_fm:copernicus_fm_base",
        top_keys=("model",),
        # kernels for named atmospheric variables instead of bands; what belongs to pooled features
        dropped=("patch_embed_variable", "fc_norm", "norm", "head"),
        manifest="copernicus_fm_base.json",
        licence_code="Apache-2.0",
        licence_weights="CC-BY-4.0",
        licence_note="the authors' repository has parts under MIT and CC-BY-NC; torchgeo's implementation is MIT",
        wavelength_unit="nm",
        wavelength_range_nm=(400.0, 2190.0),
        wavelength_windows_nm=((400.0, 1029.0), (1375.0, 1375.0), (1610.0, 1610.0), (2190.0, 2190.0)),
        normalisation="per-band z-scores",
        datasets=("copernicus_pretrain",),
        sensors=("Sentinel-1", "Sentinel-2", "Sentinel-3 OLCI", "Sentinel-5P", "Copernicus DEM"),
        citation="Wang et al. 2025, arXiv:2503.11849",
    ),
)
