"""Four outdoor frames of a Ximea snapshot camera with the mosaic of HSI-Drive: cubes to predict on, without labels."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from orchestrator.datasets._base import FoldPlan, ImageSource, RawImage, Reading, github_file
from orchestrator.datasets._hs3_files import stamp_of
from orchestrator.errors import DataError
from orchestrator.plan.facts import DatasetFacts, SourceFile

REPOSITORY, COMMIT = "Feddockh/ximea_image_analysis", "d8ab83e691bc2d3cb960b88cacd273ab56af6b89"
FOLDER = "proximal/ximea_nir25"
CHECKSUMS = {
    "1739374938_847583744": "4b38ef26fb5dd0bb1bd6a0ec6208fa05d43bb0cdfe88cb2f5461c292c359bcd7",
    "1739374981_848197632": "2a842ce0d8058f87d1089661392ce4d53551b7802099de03c7784b168a24378c",
    "1739382072_847995648": "8778f099d7ab4e264dcb6f0d8465f5c54f3cdc8e2334f13160c07b92c8855d02",
    "1739382151_847832064": "c853cd4189a3739de59876dc4bf959f4d640f7f29a8b19687d64f2a66d6a0475",
}
MOSAIC = 5
FIRST_ROW, ROWS, COLUMNS = 3, 216, 409
"""The active area begins in row 3; what is left over at the right and the bottom is no whole mosaic cell."""
RAW_SHAPE = (1088, 2048)

FACTS = DatasetFacts(
    name="ximea_nir25",
    title="Ximea 25-band near-infrared snapshot camera, 4 outdoor frames without labels",
    num_bands=25,
    wavelengths_nm=(
        *(886.0, 896.0, 877.0, 867.0, 951.0),
        *(793.0, 806.0, 782.0, 769.0, 675.0),
        *(743.0, 757.0, 730.0, 715.0, 690.0),
        *(926.0, 933.0, 918.0, 910.0, 946.0),
        *(846.0, 857.0, 836.0, 824.0, 941.0),
    ),
    wavelengths_provenance=(
        "Mosaic layout in the code beside the frames, row by row and not sorted. The order is that of HSI-Drive's "
        "bands, within 5 nm, but for the 23rd: 836 nm here, 564 nm there."
    ),
    quantity="raw",
    scale=255.0,
    class_names=(),
    class_ids=(),
    domain="proximal",
    sensor="Ximea snapshot camera with an IMEC 5 x 5 near-infrared mosaic",
    region="outdoors",
    labels="none",
    task="images",
    image_size_px=(ROWS, COLUMNS),
    num_images=len(CHECKSUMS),
    split="images",
    files=tuple(
        SourceFile(
            path=f"{FOLDER}/{name}.png", sha256=sha256, url=github_file(REPOSITORY, COMMIT, f"fb_images/{name}.png")
        )
        for name, sha256 in CHECKSUMS.items()
    ),
    citation="Feddockh/ximea_image_analysis, public repository, frames of February 2025",
    licence="none stated; not redistributed",
    notes=("No labels: for predict, with a model of a camera of this kind (hsi_drive); nothing can be trained on it.",),
)

IGNORED_IDS = (0,)
FOLDS = (FoldPlan(train=(), validation=(), test=tuple(CHECKSUMS)),)


def read(folder: Path) -> Reading:
    """Four images [216, 409, 25] uint8: each 5 x 5 cell of the sensor becomes a pixel, as in HSI-Drive."""
    images = []
    for name in CHECKSUMS:
        file = folder / FOLDER / f"{name}.png"
        images.append(ImageSource(name=name, stamp=stamp_of(file), read=partial(_read_frame, file)))
    return Reading(images=images)


def _read_frame(file: Path) -> RawImage:
    import numpy as np

    from orchestrator.datasets._formats import read_array

    raw = read_array(file, dimensions=2).array
    if raw.shape != RAW_SHAPE:
        raise DataError(
            f"{file} has size {raw.shape}, a raw frame {RAW_SHAPE} (height, width); fetch ximea_nir25 again"
        )
    cells = raw[FIRST_ROW : FIRST_ROW + MOSAIC * ROWS, : MOSAIC * COLUMNS].reshape(ROWS, MOSAIC, COLUMNS, MOSAIC)
    cube = cells.transpose(0, 2, 1, 3).reshape(ROWS, COLUMNS, MOSAIC * MOSAIC)
    labels = np.zeros((ROWS, COLUMNS), dtype=np.uint8)
    return RawImage(name=file.stem, cube=cube, labels=labels, valid=np.ones((ROWS, COLUMNS), dtype=bool))
