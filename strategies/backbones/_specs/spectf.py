"""SpecTf on EMIT cloud masks."""

from __future__ import annotations

from strategies.backbones._spec import WeightsSpec

SPECS = (
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
        architecture="strategies.backbones.spectf:spectral_encoder",
        # the published classifier tells clouds; every data set gets a new one
        dropped=("head",),
        parameters=25_538,
        manifest="spectf_v010.json",
        licence_code="Apache-2.0",
        licence_weights="Apache-2.0",
        wavelength_unit="nm",
        wavelength_range_nm=(381.0, 2493.0),
        wavelength_windows_nm=((405.0, 1275.0), (1321.0, 2455.0)),
        normalisation="top-of-atmosphere reflectance of 0 to 1",
        datasets=("spectf_cloud_emit",),
        sensors=("EMIT",),
        citation="Lee et al. 2025, doi:10.1073/pnas.2502903122",
    ),
)
