"""SpectralEarth's SpecViT, self-supervised on EnMAP tiles."""

from __future__ import annotations

from strategies.backbones._spec import NOT_STATED, WeightsSpec

SHARE = "https://syncandshare.desy.de/index.php/s/Po5bTPipz6EEHx3"
_TITLES = {"mae": "masked autoencoder", "dino": "DINO", "moco": "MoCo"}


def _spec(size: str, objective: str) -> WeightsSpec:
    return WeightsSpec(
        name=f"spectralearth_{size}_{objective}",
        title=f"SpectralEarth SpecViT-{size.upper()}, {_TITLES[objective]} on EnMAP tiles of 202 bands",
        file=f"weights/spectralearth/spec_vit_{size}/{objective}.pth",
        architecture=f"strategies.backbones.spectralearth:spec_vit_{'small' if size == 's' else 'base'}",
        # a classifier of 1000 classes that nobody trained
        dropped=("vit_core.head",),
        # two layouts: a masked autoencoder's wrapper puts the convolutions over the spectrum into the patch embedding
        renamed=(
            (r"^vit_core\.patch_embed\.spectral_adapter\.", "spectral_adapter."),
            (r"^vit_core\.patch_embed\.original_patch_embed\.", "vit_core.patch_embed."),
        ),
        # the wrapper names the projection of patches twice
        repeated=(
            r"vit_core\.patch_embed\.spectral_adapter\..*",
            r"vit_core\.patch_embed\.original_patch_embed\..*",
        ),
        manifest=f"spectralearth_{size}_{objective}.json",
        licence_code=NOT_STATED,
        licence_weights=NOT_STATED,
        licence_note=f"the repository (AABNassim/spectral_earth) states no licence; the files are shared at {SHARE}",
        consent="spectralearth",
        wavelength_range_nm=(418.0, 2446.0),
        wavelength_windows_nm=((418.0, 1272.0), (1519.0, 1718.0), (1967.0, 2446.0)),
        min_bands=75,
        normalisation="z-score of each band with EnMAP's mean and deviation (reflectance x 10000)",
        datasets=("spectralearth",),
        sensors=("EnMAP",),
        citation="Braham et al. 2024, arXiv:2408.08447",
    )


SPECS = (_spec("s", "mae"), _spec("s", "dino"), _spec("s", "moco"), _spec("b", "mae"))
