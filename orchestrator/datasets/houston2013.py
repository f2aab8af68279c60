"""Houston 2013: the airborne CASI scene of the IEEE GRSS Data Fusion Contest, a campus and its town at 2.5 m a pixel.

The contest's own files are given out after a registration. What is fetched here is a public copy as MATLAB files,
whose checksums the package rs-fusion-datasets states. Its labels are those of the contest's training and test pixels
together; the contest's split is not used: sides are dealt by blocks, as for all scenes.
"""

from __future__ import annotations

from pathlib import Path

from orchestrator.datasets._base import Archive, BlockRule, RawImage
from orchestrator.datasets._classic_scenes import NOT_VALIDATED, read_scene
from orchestrator.plan.facts import DatasetFacts, SourceFile

FOLDER = "remote/houston2013"
ARCHIVE = Archive(
    url="https://github.com/songyz2019/rs-fusion-datasets-dist/releases/download/v1.0.0/houston2013-mmr.zip",
    folder=FOLDER,
    if_it_fails=f"get HSI.mat and gt.mat by hand and put them into {FOLDER}/Houston2013 below the data root",
)
REMEDY = "hsfm-sweep data fetch houston2013"

# fmt: off
WAVELENGTHS_NM = (
    364.0, 368.8, 373.6, 378.4, 383.2, 387.9, 392.7, 397.5, 402.3, 407.0, 411.8, 416.6, 421.4, 426.1, 430.9, 435.7,
    440.5, 445.2, 450.0, 454.8, 459.6, 464.3, 469.1, 473.9, 478.6, 483.4, 488.2, 492.9, 497.7, 502.5, 507.3, 512.0,
    516.8, 521.6, 526.3, 531.1, 535.9, 540.6, 545.4, 550.2, 554.9, 559.7, 564.5, 569.2, 574.0, 578.8, 583.5, 588.3,
    593.1, 597.8, 602.6, 607.4, 612.1, 616.9, 621.6, 626.4, 631.2, 635.9, 640.7, 645.5, 650.2, 655.0, 659.8, 664.5,
    669.3, 674.1, 678.8, 683.6, 688.3, 693.1, 697.9, 702.6, 707.4, 712.2, 716.9, 721.7, 726.5, 731.2, 736.0, 740.7,
    745.5, 750.3, 755.0, 759.8, 764.6, 769.3, 774.1, 778.9, 783.6, 788.4, 793.2, 797.9, 802.7, 807.5, 812.2, 817.0,
    821.8, 826.5, 831.3, 836.1, 840.8, 845.6, 850.4, 855.1, 859.9, 864.7, 869.4, 874.2, 879.0, 883.7, 888.5, 893.3,
    898.0, 902.8, 907.6, 912.3, 917.1, 921.9, 926.7, 931.4, 936.2, 941.0, 945.8, 950.5, 955.3, 960.1, 964.8, 969.6,
    974.4, 979.2, 983.9, 988.7, 993.5, 998.3, 1003.1, 1007.8, 1012.6, 1017.4, 1022.2, 1026.9, 1031.7, 1036.5, 1041.3,
    1046.1,
)
# fmt: on

FACTS = DatasetFacts(
    name="houston2013",
    title="Houston 2013, CASI-1500, 15 classes of a campus and its town",
    num_bands=144,
    wavelengths_nm=WAVELENGTHS_NM,
    wavelengths_provenance=(
        "The files hold no wavelengths. Band centres as the package rs-fusion-datasets lists them for this copy, "
        "rounded to 0.1 nm; the contest says 144 bands from 380 to 1050 nm, so the first ones may be off."
    ),
    # The contest says at-sensor radiance, but gives no unit and no scale with this copy, so the numbers count as raw.
    quantity="raw",
    class_names=(
        "healthy-grass",
        "stressed-grass",
        "synthetic-grass",
        "trees",
        "soil",
        "water",
        "residential",
        "commercial",
        "road",
        "highway",
        "railway",
        "parking-lot-1",
        "parking-lot-2",
        "tennis-court",
        "running-track",
    ),
    class_ids=tuple(range(1, 16)),
    domain="remote",
    sensor="CASI-1500",
    region="Houston, Texas, USA",
    task="scene",
    image_size_px=(349, 1905),
    labelled_pixels=15_029,
    split="block",
    files=(
        SourceFile(
            path=f"{FOLDER}/Houston2013/HSI.mat",
            sha256="6a0edba3c224df411623ed5774fc34e91929ab341709859b2f56cc38dbb3c6fd",
        ),
        SourceFile(
            path=f"{FOLDER}/Houston2013/gt.mat",
            sha256="75ecccc08ac7709e48285bb098fda802da6efd6dc0168cb1c99c6ce09d0b6ae0",
        ),
    ),
    citation=(
        "Debes et al.: Hyperspectral and LiDAR Data Fusion: Outcome of the 2013 GRSS Data Fusion Contest. IEEE JSTARS "
        "7(6), 2014. Data: Hyperspectral Image Analysis group and NSF-funded Center for Airborne Laser Mapping, "
        "University of Houston"
    ),
    licence="the contest's terms: for research, with attribution; none stated with this copy",
    notes=(
        NOT_VALIDATED,
        "Published few-shot scores on it use the contest's own training and test pixels; ours use blocks.",
    ),
)

BLOCKS = BlockRule(side_px=20, buffer_px=4)


def read(folder: Path) -> list[RawImage]:
    """The one scene: cube [349, 1905, 144], labels [349, 1905]."""
    return read_scene(FACTS, folder, cube_variable="HSI", labels_variable="gt")
