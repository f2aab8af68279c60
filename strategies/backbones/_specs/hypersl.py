"""HyperSL-small, self-supervised on EnMAP and DESIS spectra."""

from __future__ import annotations

from strategies.backbones._spec import NOT_STATED, WeightsSpec

SPECS = (
    WeightsSpec(
        name="hypersl_small",
        title="HyperSL-small, masked autoencoder of single spectra (EnMAP, DESIS), checkpoint 5 at mask ratio 0.95",
        # "base" in the file's name notwithstanding, its network is the small one: width 256, 8 + 4 layers
        file="weights/hypersl/5_base_mask95_checkpoint.pt",
        huggingface=("WeilKon/HyperSL", "5_base_mask95_checkpoint.pt", "main"),
        architecture="strategies.backbones.hypersl:hypersl_small",
        top_keys=("model",),
        stripped=("module.",),
        # the decoder, and `pe`, an all-zero scratch table that the published forward pass overwrites
        dropped=("mask_token", "pe", "corss_attn", "decoder_blocks", "norm1", "norm2", "decoder_layer"),
        parameters=9_155_969,
        manifest="hypersl_small.json",
        licence_code=NOT_STATED,
        licence_weights=NOT_STATED,
        licence_note="the repository (kkweil/HyperSL) states no licence for code or weights: all rights reserved",
        consent="hypersl",
        wavelength_unit="nm",
        wavelength_range_nm=(418.0, 2450.0),
        max_bands=500,
        normalisation="each band of a scene scaled to 0..1 (minimum and maximum)",
        datasets=("hypersl_enmap", "hypersl_desis"),
        sensors=("EnMAP", "DESIS"),
        citation="Kong et al. 2025, doi:10.1109/TGRS.2025.3566205",
    ),
)
