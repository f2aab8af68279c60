"""What is known of HSI-Drive v2.0, for the data set and its variant with the wavelengths of the reference code."""

from __future__ import annotations

from orchestrator.datasets._base import Archive, github_file
from orchestrator.datasets._hs3_colours import street_colours
from orchestrator.plan.facts import DatasetFacts, SourceFile

FOLDER = "proximal/hsi_drive"
ADDRESS = "https://ipaccess.ehu.eus/HSI-Drive/files/HSI_Drive_v2_0.zip"
PASSWORD_VARIABLE = "HSFM_HSI_DRIVE_PASSWORD"  # noqa: S105 - the name of the variable, not the password
LISTS_FOLDER = "hs3bench_splits"
LISTS_REPOSITORY, LISTS_COMMIT = "nickstheisen/hyperseg", "71223268bbe80f8b5df57603b2c6643d6ca855d0"
LISTS_PATH = "hyperseg/datasets/datasplits/hs3bench/hsidrive"
LISTS = {
    "train": "00af62dea6b0438ba4651943e5af0683b5a5810668d4af03b0c82e3304516b33",
    "val": "3b705b272879de48a0e70cbd90fc60edfd0f6d81c49a2b773cca0b77b59d5d9b",
    "test": "982ebd19596b54c219a2c5ef304b0e7ddb84a8fd095e6701b6344902e4ea3641",
}
"""SHA-256 of the published split lists: they follow no formula."""

ACCESS = (
    'Ask gded@ehu.eus for the password (subject "download HSI-Drive"), then: '
    f"{PASSWORD_VARIABLE}=... hsfm-sweep data fetch hsi_drive; or get {ADDRESS} and unpack it yourself with "
    f"`7z x HSI_Drive_v2_0.zip`, so that "
    f"{FOLDER}/Image_dataset/cubes_fl32 and {FOLDER}/Image_dataset/labels lie below the data root."
)

# fmt: off
MOSAIC_CENTRES_NM = (
    888.48, 897.66, 879.13, 869.11, 956.11,
    795.96, 807.63, 783.76, 770.58, 679.14,
    744.48, 757.92, 731.88, 718.30, 692.90,
    928.81, 936.25, 920.60, 912.17, 950.39,
    848.55, 858.95, 564.36, 826.77, 944.49,
)
# fmt: on

FACTS = DatasetFacts(
    name="hsi_drive",
    title="HSI-Drive v2.0, 25-band near-infrared snapshot camera on a car, 9 classes (HS3-Bench)",
    num_bands=25,
    wavelengths_nm=MOSAIC_CENTRES_NM,
    wavelengths_provenance=(
        "Band centres in the order of the 5 x 5 mosaic, not sorted: as the data set's authors write them into ENVI "
        "headers; their code sorts the data only on request. Other readers assume 25 equal steps in ascending order, "
        "which contradicts this: hsi_drive_legacy_linspace."
    ),
    # About 0 to 1, at most 4: corrected reflectances by name, but on a scale that no source states.
    quantity="raw",
    class_names=(
        *("road", "road marks", "vegetation", "painted metal", "sky", "concrete, stone and brick"),
        *("pedestrian and cyclist", "unpainted metal", "glass and transparent plastic"),
    ),
    class_ids=(1, 2, 3, 4, 5, 6, 7, 9, 10),
    class_colours=street_colours(
        *("road", "marking", "vegetation", "vehicle", "sky", "building", "person", "metal", "glass")
    ),
    domain="proximal",
    sensor="Photonfocus camera with an IMEC 5 x 5 near-infrared mosaic (HSI-Drive v2.0)",
    region="roads of the Basque Country, Spain",
    task="images",
    image_size_px=(216, 409),
    num_images=752,
    train_images=451,
    split="images",
    files=tuple(
        SourceFile(
            path=f"{LISTS_FOLDER}/hsidrive_{side}.csv",
            sha256=sha256,
            url=github_file(LISTS_REPOSITORY, LISTS_COMMIT, f"{LISTS_PATH}/{side}_samples.csv"),
        )
        for side, sha256 in LISTS.items()
    ),
    citation=(
        "Basterretxea, Martinez, Echanobe, Gutierrez-Zaballa and del Campo, HSI-Drive v2.0, University of the Basque "
        "Country (EHU); protocol and split: HS3-Bench, arXiv 2409.11205"
    ),
    licence="not stated; ask the authors before you redistribute anything",
    notes=(
        ACCESS,
        "Water (id 8) is ignored, as in the benchmark.",
        "The median-filtered cubes (MF) are not used.",
        'Bands "5,2,0", which the published pseudo-RGB rows use, lie at 796, 879 and 888 nm: near-infrared false '
        "colour, no picture as an eye sees it.",
        "Not yet validated on the real files.",
    ),
)

IGNORED_IDS = (0, 8)
REMEDY = ACCESS
ARCHIVE = Archive(url=ADDRESS, folder=FOLDER, password_variable=PASSWORD_VARIABLE, if_it_fails=ACCESS)
