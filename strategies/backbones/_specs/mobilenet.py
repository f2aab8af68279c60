"""MobileNetV2 on ImageNet."""

from __future__ import annotations

from strategies.backbones._spec import NOT_STATED, WeightsSpec

SPECS = (
    WeightsSpec(
        name="mobilenet_v2_imagenet",
        title="MobileNetV2, supervised on ImageNet-1k (RGB photographs), torchvision's first weights",
        file="mobilenet_v2-b0353104.pth",
        url="https://download.pytorch.org/models/mobilenet_v2-b0353104.pth",
        sha256="b0353104",
        size_bytes=None,
        architecture="strategies.backbones.deeplabv3plus:MobileNetV2Levels",
        # the classifier of ImageNet's 1000 classes and the layer that feeds it
        dropped=("classifier", "features.18"),
        parameters=3_504_872,
        manifest="mobilenet_v2_imagenet.json",
        licence_code="BSD-3-Clause",
        licence_weights=NOT_STATED,
        licence_note="torchvision states a licence for its code only; ImageNet's images come with terms of their own",
        min_bands=3,
        max_bands=3,
        stem="new",
        normalisation="values of 0 to 1, less ImageNet's mean, divided by its standard deviation",
        datasets=("imagenet_1k",),
        sensors=("rgb_camera",),
        citation="Sandler et al. 2018, arXiv:1801.04381",
    ),
)
