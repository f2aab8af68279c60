"""Checkpoints of HyperFree and HyperVision: one architecture, SAM's prompt encoder and mask decoder dropped."""

from __future__ import annotations

from typing import Any

from strategies.backbones._spec import NOT_STATED, WeightsSpec

_BACKBONE = "strategies.backbones.hyperfree"
_COMMON: dict[str, Any] = {
    "stripped": ("module.", "image_encoder."),
    "wavelength_unit": "nm",
    "normalisation": "numbers of an image divided by its largest",
}
# contras_modules turn the neck's map into similarities for prompts, which is no part of segmentation
_OF_PROMPTS = ("prompt_encoder", "mask_decoder", "contras_modules")


def _hyperfree(size: str) -> WeightsSpec:
    file = f"HyperFree-{size[0]}.pth"
    return WeightsSpec(
        name=f"hyperfree_{size}",
        title=f"HyperFree {size}, image encoder with its dictionary of spectral weights, pretrained on AVIRIS",
        file=f"weights/hyperfree/{file}",
        huggingface=("JingtaoLi/HyperFree", f"Ckpt/{file}", "main"),
        architecture=f"{_BACKBONE}:hyperfree_{size}",
        # merging of tokens is off in all of the authors' examples that load this file
        dropped=(*_OF_PROMPTS, "multi_scale_convs"),
        manifest=f"hyperfree_{size}.json",
        licence_code="MIT",
        licence_weights=NOT_STATED,
        licence_note="the repository of the weights states no licence",
        consent="hyperfree",
        wavelength_range_nm=(404.0, 2504.0),
        datasets=("hyper_seg",),
        sensors=("AVIRIS",),
        citation="Li et al. 2025, arXiv:2503.21841",
        **_COMMON,
    )


SPECS = (
    *(_hyperfree(size) for size in ("base", "large", "huge")),
    WeightsSpec(
        name="hypervision_huge",
        title="HyperVision huge, image encoder with its dictionary, pretrained on 26 ground-based data sets",
        file="weights/hypervision/hypervision_distilled_h.pth",
        huggingface=("IronKitty/HyperVision", "checkpoints/hypervision_distilled_h.pth", "main"),
        architecture=f"{_BACKBONE}:hypervision_huge",
        # the second merging would follow block 32, which there is not
        dropped=(*_OF_PROMPTS, "multi_scale_convs.1"),
        manifest="hypervision_huge.json",
        licence_code=NOT_STATED,
        licence_weights="Apache-2.0",
        licence_note="the licence of the weights is that of their model card; no code of the authors is used here",
        wavelength_range_nm=(377.0, 1700.0),
        datasets=("hsi_drive", "hyko2", "hcv2"),
        citation="Fu et al. 2026, arXiv:2605.17286",
        **_COMMON,
    ),
)
