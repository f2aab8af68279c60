"""DTU salami: slices of salami in a laboratory camera on five days. The day is the shift to transfer over."""

from __future__ import annotations

from pathlib import Path

from orchestrator.datasets._base import FoldPlan, RawImage, github_file
from orchestrator.plan.facts import DatasetFacts, SourceFile

REPOSITORY = "willh003/MathModeling2"
COMMIT = "11c1121dc6f1fdc856f7c7a52b931413a52a5655"
FOLDER = "proximal/salami"
ANNOTATED = 128
"""A layer of the annotation picture is set where it is above this; day 13 has a few softened edges."""
IGNORED = 255

# fmt: off
CHECKSUMS = {
    "annotation_day01.png": "47b95210e69110ee02973e3fd0840caf201fe0b99df7f90eb8265e56bbcb2cdb",
    "multispectral_day01.mat": "9f776b66fbab7e9abf5968a316d18409922e4fa015ec88f0f652c619b4414992",
    "annotation_day06.png": "c4ecebebb1fc379fdef7be0a532ab306c79625ad0ad2fc5c33c9b906d929d8d5",
    "multispectral_day06.mat": "9590011554c7f66d92a6a892580b6dfc2eaf0e43f0fd643ab7b371051d256118",
    "annotation_day13.png": "bccde8d93f9a2295b0d11ec7085f06a41554a24ea78499c60c98b58455c42956",
    "multispectral_day13.mat": "05ca1cbafffe129e8042831901c60be8cb6cff2721f135465004e3b3605eef1b",
    "annotation_day20.png": "f20b2368090afddc6f0c3a13678d5f2af0c81597e61f8c5f436a885d807bdcd8",
    "multispectral_day20.mat": "4375353ce0172f069984f9299af62bda1f5d595ce594d86798879a5d64168522",
    "annotation_day28.png": "e2df8305b5cc37f48fab3b81c66adfb34f9264501d4b28ef85e1050d8eace1da",
    "multispectral_day28.mat": "48c9acd7803dd12a1ac9ee9950c65ed316d9bf89c9f6e3ad78a95054de23817c",
}
# fmt: on
DAYS = tuple(sorted(name[-6:-4] for name in CHECKSUMS if name.startswith("multispectral")))
NAMES = tuple(f"day{day}" for day in DAYS)

FACTS = DatasetFacts(
    name="salami",
    title="DTU salami, laboratory camera, 5 days, fat and meat",
    num_bands=19,
    wavelengths_nm=None,
    wavelengths_provenance=(
        "The files hold no wavelengths. The course material speaks of 19 bands of a visible and near-infrared "
        "laboratory camera; the last band is almost dark."
    ),
    quantity="raw",
    class_names=("background", "fat", "meat"),
    class_ids=(0, 1, 2),
    headline_classes=("fat", "meat"),
    domain="proximal",
    sensor="laboratory VNIR camera (DTU)",
    region="laboratory",
    task="images",
    image_size_px=(514, 514),
    num_images=5,
    labelled_pixels=983_995,
    split="images",
    folds=5,
    files=tuple(
        SourceFile(path=f"{FOLDER}/{name}", sha256=sha256, url=github_file(REPOSITORY, COMMIT, f"data/{name}"))
        for name, sha256 in CHECKSUMS.items()
    ),
    citation="Technical University of Denmark, course 02526 Mathematical Modelling, exercise data",
    licence="none stated (teaching data); not redistributed",
)

IGNORED_IDS = (IGNORED,)
# One day trains, the next one validates, the other three test.
FOLDS = tuple(
    FoldPlan(
        train=(NAMES[day],),
        validation=(NAMES[(day + 1) % len(NAMES)],),
        test=tuple(NAMES[(day + step) % len(NAMES)] for step in range(2, len(NAMES))),
    )
    for day in range(len(NAMES))
)


def read(folder: Path) -> list[RawImage]:
    """Five images [514, 514, 19] uint8 with labels 0 background, 1 fat, 2 meat.

    Salami that is annotated without telling fat from meat (the picture's first layer) is ignored.
    """
    import numpy as np

    from orchestrator.datasets._formats import read_array

    images = []
    for day, name in zip(DAYS, NAMES, strict=True):
        cube = read_array(folder / FOLDER / f"multispectral_day{day}.mat", variable="immulti").array
        layers = read_array(folder / FOLDER / f"annotation_day{day}.png", dimensions=3).array
        labels = np.zeros(layers.shape[:2], dtype=np.uint8)
        for layer, label in ((0, IGNORED), (1, 1), (2, 2)):
            labels[layers[:, :, layer] > ANNOTATED] = label
        images.append(RawImage(name=name, cube=cube, labels=labels, valid=np.ones(cube.shape[:2], dtype=bool)))
    return images
