"""EnMAP Potsdam: 18 tiles of a spaceborne scene with land cover labels, split by cross-validation over the tiles.

The files come with lists of their own: 14 tiles train, 2 validate, 2 test. Two test tiles lack the class water and
are too few to tell strategies apart, so the tiles are rotated through the three sides instead. Some tiles touch: no
window crosses from one into another, but neighbours across a border are alike, which no buffer takes away here.
"""

from __future__ import annotations

from pathlib import Path

from orchestrator.datasets._base import RawImage, github_file
from orchestrator.datasets._enmap_bands import FWHM_NM, WAVELENGTHS_NM
from orchestrator.errors import DataError
from orchestrator.plan.facts import DatasetFacts, SourceFile

REPOSITORY = "EnMAP-Box/enmap-box"
COMMIT = "f9e8f486c9614813410cc9d715bb056e6ad3cfd5"
REPOSITORY_FOLDER = "tests/testdata/external/specdeepmap/test_requierments"
FOLDER = "remote/enmap_potsdam"
NODATA = -32768.0

# Tile (column and row of its corner in the scene): checksums of image and labels.
# fmt: off
CHECKSUMS = {
    "128_0": ("b3188eabb94fb40cc6e5ad0ec6b3a03983d188e6736ada84e90080fbcd6d4271",
              "6f7945743ab1af207b9dd01108d5eda13c4518955e453f5b2e2197dde9a5b962"),
    "128_128": ("8369cba48345c7de8a8b3e0e91ad04a09a620b09332277aa7aeb5e26954a40a1",
                "db3e8063e2177e304fad8fb52e197e623e68afb1c99ff52d4113cb2c85190c4c"),
    "128_32": ("cb662f139c8681cc909a33b484a2ff4e5b244b529760b7959a79cef0ba1c7324",
               "580c6d395b3b01ae8431f91d40703122ac17573d8fc1a2c7bad0bf7592018929"),
    "128_96": ("70de0e0802e5ec8b499152c757ac1ee8458d0bd797385bd04517a6737a5131db",
               "96423daf011a77b2c2bd5d04ac80b17cffbcc3b87059ce76a62c1d73773fbf07"),
    "160_128": ("cbb1a12389f027e1f84ccbd5aa65f56c8ea316f5a84a4744697c9100dbc11126",
                "b38560b7369b2b033188be45f885deab110d8d7a1598b423ff19dbb48a4aa222"),
    "160_160": ("0ef0ff714b8eff3eff8e8190434eae635c58a920c2f9d9b4dab48d67d3127f1a",
                "2d0b765aa70250624f1b816b76fc2fd32837557df0bc81d091b4e74f4cb86307"),
    "160_64": ("824f4f50d26b547fe7bd52ca93068e64b44ddcf4f45edab9b020794a42f7d473",
               "7f4248f2116a8571cb79a6f3bcd5eca8e325a5c92c574cf19169a4d0ce01a65b"),
    "160_96": ("927cfebba1ed915397f72caae4e59befc27909cec918550ff484b700f3f9d6c7",
               "c42b0680cd0947f2caa867e6c6721abb1a70d4aa08824558a82c81eea77b34e5"),
    "192_128": ("372ee82f2551d9746fc2dd7530c4acd6deea06d90883db5e7f3607ed72d97534",
                "c49a76b7eb31ccb5b05bd9491cb4e5fd5850fd533bc3715c5c13d5e8a5aaeed1"),
    "192_160": ("932009ec1fc3deddb52c3fb6cccc9be0c643cc9a860486af465251db6386b101",
                "40dfb1a13dd2fe7f0230d64f7d6076ad3bf5097b6689192d6cf7b403a8e0d1c6"),
    "192_64": ("fd7fc05826f24bcaf65bc04cc999021566746f47ddd6f30a586f6aed5b17c1ee",
               "0158973f2a6d636d4fd3010f791c7be07ffdf95dad7f7404ec25eba57b81fa34"),
    "192_96": ("69fd852b038d23ba811ca7927954567be85cb1381d3ca5479568484d560866e2",
               "f582744a96b853de76ce98621cbbed2e130bce803ed79701d11724a69660b662"),
    "64_0": ("74e475a6abd6529919c84272f2d1f24480a96aa8b817de750723c5a1b3332578",
             "3747e02de21be8f4e44c684cf6a18cdfa0c4400ca732e757d1660215d4b1b936"),
    "64_32": ("ca8766e3f118fa39eb2322bb7e9a5ae4b762d3712424bfb689aeb31f639a867f",
              "bbc57b0c8250c1b9f8ef526fd3e6aa8b39b5a392d663129620764c991b3431ff"),
    "96_0": ("4ea4617a16eb9d84dfb80b70adbd5b36b59217d9f3b72ad3993ac9b0337e38ac",
             "f9607d4b8897517bf22347b10cd102200fe22838aa9596d522558791a3a05950"),
    "96_128": ("17b077c2926b0992f4605a747810256679a5abd7b068eb30424143d2199b30df",
               "4572f676fa6bb06ab17ded35b92a205eb8130416cbe545d4496e6074bb51b455"),
    "96_32": ("b490a51ff87ab4bda7e5757c78c2919140edb142c0c184b247b51c964577b229",
              "be04a1916f12fe3cfdb7ad5ee53f2f71f6b1b63ae2a767af622c5110b44736e3"),
    "96_96": ("e3d12471a31336c41f43ac53fdfb9aa857309b5d5106275d523556977d2bb9b6",
              "2c9072699db093825d1062ebc534499f6beaf2d319d9bdf9ed295fd517bf0fc2"),
}
# fmt: on


def _files() -> tuple[SourceFile, ...]:
    paths = [
        (f"{part}/enmap_potsdam_tile_{tile}.tif", sha256)
        for tile, sums in CHECKSUMS.items()
        for part, sha256 in zip(("images", "labels"), sums, strict=True)
    ]
    return tuple(
        SourceFile(
            path=f"{FOLDER}/{path}", sha256=sha256, url=github_file(REPOSITORY, COMMIT, f"{REPOSITORY_FOLDER}/{path}")
        )
        for path, sha256 in paths
    )


FACTS = DatasetFacts(
    name="enmap_potsdam",
    title="EnMAP Potsdam, 18 tiles of 30 m pixels, 6 classes of land cover",
    num_bands=218,
    wavelengths_nm=WAVELENGTHS_NM,
    fwhm_nm=FWHM_NM,
    wavelengths_provenance=(
        "GDAL metadata of the tiles, which are read again and compared when the data set is prepared. Not sorted: the "
        "detectors overlap around 900 to 990 nm. Bands 129-134 (from 0) are marked bad and hold no data."
    ),
    dropped_bands=(129, 130, 131, 132, 133, 134),
    quantity="surface_reflectance",
    scale=10_000.0,
    # The label files hold ids only. The names are level 3 of the legend that the EnMAP-Box ships with its Potsdam
    # reference data; the mean spectra of the six ids agree with them.
    class_names=("roof", "pavement", "low vegetation", "tree", "soil", "water"),
    class_ids=(1, 2, 3, 4, 5, 6),
    domain="remote",
    sensor="EnMAP",
    region="Potsdam, Germany",
    task="images",
    image_size_px=(32, 32),
    num_images=18,
    labelled_pixels=5672,
    split="images",
    # Water lies in four tiles: with four folds it can be on every side of every fold, with five it cannot.
    folds=4,
    files=_files(),
    citation=(
        "EnMAP data (c) DLR 2022; land cover reference of Potsdam distributed with the EnMAP-Box (SpecDeepMap); "
        "its own test list is the two tiles 160_96 and 96_32"
    ),
    licence="EnMAP (c) DLR; reference data LGB, dl-de/by-2-0; not redistributed",
)


def read(folder: Path) -> list[RawImage]:
    """18 images [32, 32, 218] float32, labels 1 to 6, 0 unlabelled.

    Raises:
        DataError: the band centres in a file are not those of the facts.
    """
    import numpy as np

    from orchestrator.datasets._formats import read_array

    kept = np.setdiff1d(np.arange(len(WAVELENGTHS_NM) + len(FACTS.dropped_bands)), FACTS.dropped_bands)
    images = []
    for tile in CHECKSUMS:
        file = folder / FOLDER / "images" / f"enmap_potsdam_tile_{tile}.tif"
        found = read_array(file, dimensions=3)
        centres = found.wavelengths_nm or ()
        if tuple(centres[band] for band in kept if band < len(centres)) != WAVELENGTHS_NM:
            raise DataError(
                f"{file} states other band centres than the facts of enmap_potsdam; fetch the data set again"
            )
        cube = found.array.transpose(1, 2, 0)[:, :, kept]
        labels = read_array(folder / FOLDER / "labels" / file.name, dimensions=2).array
        images.append(RawImage(name=f"tile_{tile}", cube=cube, labels=labels, valid=~(cube == NODATA).any(axis=2)))
    return images
