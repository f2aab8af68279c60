"""HyperVision: HyperFree's architecture, pretrained on ground-based images, among them whole data sets of driving.

Its authors list HSI-Drive, HyKo2 and Hyperspectral City with all of their images, test images too; in these data sets
the column `leakage` says so. After block 8 four tokens become one, as in the authors' example. That example leaves the
test mode off, which draws 40 bands at random; here all matched bands are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from strategies._base import Pretraining
from strategies.cross_domain._hyperfree import NECK_WIDTH, PATCH_PX, DictionaryModel

WIDTHS = {"huge": 1280, "reduced": 32}


@dataclass(frozen=True, kw_only=True)
class HyperVision(DictionaryModel):
    """HyperVision's image encoder with a new head; its input layer is pretrained and takes bands by wavelength."""

    size: Literal["huge", "reduced"] = "huge"
    """huge (736 million parameters; no other size's file has a published name) or reduced (a tiny one for tests)."""
    ground_sampling_distance_m: float = 0.01

    summary: ClassVar[str] = (
        "HyperVision, bands matched to a dictionary of wavelengths, pretrained on ground-based images"
    )
    pretraining: ClassVar[Pretraining | None] = Pretraining(
        weights="hypervision_huge",
        modality="hsi",
        domain="proximal",
        datasets=(
            *("hsi_drive", "hsi_drive_legacy_linspace", "hyko2", "hcv2", "hcv2_2024"),
            *("fifty_outdoor", "agricultural_plant", "arad_1k", "cave", "deephs", "harvard", "hot_2024", "hsi_road"),
            *("hsodbit_v2", "hs_sod", "hyperblood", "hyperdrive", "icvl", "lib_hsi", "university_of_manchester"),
            *("virginia_tech_tree", "apple_fire_blight"),
        ),
        # cameras of the driving sets; HyKo2's second one, for the near infrared, took other images too
        sensors=(
            "LightGene hyperspectral camera, 450 to 950 nm (HyperspectralCity v2)",
            "Photonfocus camera with an IMEC 5 x 5 near-infrared mosaic (HSI-Drive v2.0)",
            "IMEC snapshot mosaic camera, visible (HyKo2-VIS)",
            "Ximea snapshot camera with an IMEC 5 x 5 near-infrared mosaic",
        ),
        # pseudo-labels and distillation: no label of a person
        supervised=False,
    )
    range_nm: ClassVar[tuple[float, float]] = (377.0, 1700.0)
    reference_step_s: ClassVar[float] = 20.0

    def weights_name(self) -> str:
        return "hypervision_huge"

    def architecture(self) -> str:
        return f"hypervision_{self.size}"

    def level_channels(self) -> tuple[tuple[int, int], ...]:
        merged = 2 * PATCH_PX
        width = WIDTHS[self.size]
        return ((width, PATCH_PX), (width, merged), (width, merged), (NECK_WIDTH, merged))


STRATEGY = HyperVision
