"""HyperSIGMA's checkpoints: each branch by itself, and both joined in one file."""

from __future__ import annotations

from typing import Any

from strategies.backbones._spec import WeightsSpec

PATCH_PX = 8
TOKENS = 100
"""Tokens of the spectral branch."""
WIDTHS = {"base": 768, "large": 1024, "reduced": 32}
_BEGINNINGS = {
    ("spat", "base"): "df6584e8",
    ("spat", "large"): "7ee9f484",
    ("spec", "base"): "662845ed",
    ("spec", "large"): "",
}
"""Of the files' SHA-256, as far as anybody has stated them."""
_SPECTRAL_BLOCKS = {"base": 4, "large": 8}
"""So many blocks of the spectral branch lie before its tap; the fusion never uses the rest."""
_DEPTHS = {"base": 12, "large": 24}
# the decoder of masked autoencoding; fpn1 belongs to the authors' fine-tuning model, should a file hold it
_DECODER = (
    "mask_token",
    "decoder_embed",
    "decoder_pos_embed",
    "decoder_blocks",
    "decoder_norm",
    "decoder_pred",
    "fpn1",
)
_COMMON: dict[str, Any] = {
    "licence_code": "Apache-2.0",
    "licence_weights": "Apache-2.0",
    "normalisation": "digital numbers divided by 4000, about their largest",
    "datasets": ("hyperglobal_450k",),
    "sensors": ("EO-1 Hyperion", "GF-5"),
    "citation": "Wang et al. 2025, arXiv:2406.11519",
}


def _published(branch: str, size: str) -> dict[str, Any]:
    file = f"{branch}-vit-{size}-ultra-checkpoint-1599.pth"
    return {
        **_COMMON,
        "file": f"weights/hypersigma/{file}",
        "huggingface": ("WHU-Sigma/HyperSIGMA", file, "main"),
        "sha256": _BEGINNINGS[branch, size],
        "top_keys": ("model",),
        "stripped": ("module.",),
        # the file also holds the settings of its training run
        "safe_globals": ("argparse.Namespace",),
    }


def _of_size(size: str) -> tuple[WeightsSpec, ...]:
    title = f"HyperSIGMA {size}"
    behind_tap = f"blocks\\.({'|'.join(str(n) for n in range(_SPECTRAL_BLOCKS[size], _DEPTHS[size]))})\\..*"
    joined = {
        **_COMMON,
        "file": f"weights/hypersigma/joined-vit-{size}.safetensors",
        "licence_note": (
            "nobody publishes this file: python -m strategies.backbones.hypersigma_join makes it of the two published "
            f"ones, hypersigma_spat_{size} and hypersigma_spec_{size}"
        ),
    }
    backbone = "strategies.backbones.hypersigma"
    return (
        WeightsSpec(
            name=f"hypersigma_spat_{size}",
            title=f"{title}, spatial branch with its input layer for 100 bands",
            architecture=f"{backbone}:spatial_{size}",
            dropped=_DECODER,
            manifest=f"hypersigma_spat_{size}.json",
            **_published("spat", size),
        ),
        WeightsSpec(
            name=f"hypersigma_spat_{size}_pca",
            title=f"{title}, blocks of the spatial branch, for a new input layer on principal components",
            architecture=f"{backbone}:spatial_{size}_blocks",
            dropped=(*_DECODER, "patch_embed", "pos_embed"),
            manifest=f"hypersigma_spat_{size}_pca.json",
            stem="new",
            **_published("spat", size),
        ),
        WeightsSpec(
            name=f"hypersigma_spec_{size}",
            title=f"{title}, spectral branch up to its tap, to be joined with the spatial one",
            architecture=f"{backbone}:spectral_{size}",
            # the fusion taps the branch before its last blocks
            dropped=(*_DECODER, "norm"),
            dropped_patterns=(behind_tap,),
            manifest=f"hypersigma_spec_{size}.json",
            **_published("spec", size),
        ),
        WeightsSpec(
            name=f"hypersigma_both_{size}",
            title=f"{title}, both branches, joined from the two published files",
            architecture=f"{backbone}:both_{size}",
            manifest=f"hypersigma_both_{size}.json",
            **joined,
        ),
        WeightsSpec(
            name=f"hypersigma_both_{size}_pca",
            title=f"{title}, both branches, for a new input layer on principal components",
            architecture=f"{backbone}:both_{size}_blocks",
            dropped=("spatial.patch_embed", "spatial.pos_embed"),
            manifest=f"hypersigma_both_{size}_pca.json",
            stem="new",
            **joined,
        ),
    )


SPECS = (*_of_size("base"), *_of_size("large"))
