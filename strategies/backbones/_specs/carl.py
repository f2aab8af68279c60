"""CARL, self-supervised on BigEarthNet, SpectralEarth and HySpecNet."""

from __future__ import annotations

from strategies.backbones._spec import NOT_STATED, WeightsSpec

SPECS = (
    WeightsSpec(
        name="carl_ssl",
        title="CARL, self-supervised on Sentinel-2 and EnMAP images of 12 to 202 bands",
        file="weights/carl/ssl_checkpoint_carl.ckpt",
        url="https://zenodo.org/records/18671944/files/ssl_checkpoint_carl.ckpt",
        architecture="strategies.backbones.carl:carl_base",
        top_keys=("state_dict",),
        stripped=("model.",),
        dropped=(
            "teacher",
            "spectral_predictor",
            "spatial_predictor",
            # of EVA-02, what CARL's forward pass never calls
            "spatial_encoder.net.patch_embed",
            "spatial_encoder.net.norm",
            "spatial_encoder.net.fc_norm",
            "spatial_encoder.net.head",
        ),
        manifest="carl_ssl.json",
        licence_code="Apache-2.0",
        licence_weights=NOT_STATED,
        licence_note="the code (IMSY-DKFZ/CARL) is Apache-2.0 with parts of third parties; the file's is not known",
        consent="carl",
        wavelength_unit="um",
        wavelength_range_nm=(420.0, 2450.0),
        normalisation="each image less its mean over its deviation, all bands together",
        datasets=("bigearthnet", "spectralearth", "hyspecnet_11k"),
        sensors=("EnMAP", "Sentinel-2"),
        citation="Baumann et al. 2026, arXiv:2504.19223",
    ),
)
