"""Vision models of timm: a short list in plain data, and any other by its name, for which timm itself is asked."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import NamedTuple

from strategies._checks import StrategyError
from strategies.backbones._spec import NOT_STATED, WeightsSpec
from strategies.backbones._specs import TIMM

PERMISSIVE = {
    "apache-2.0": "Apache-2.0",
    "mit": "MIT",
    "bsd-3-clause": "BSD-3-Clause",
    "bsd-2-clause": "BSD-2-Clause",
    "cc-by-4.0": "CC-BY-4.0",
    "cc0-1.0": "CC0-1.0",
}
"""Licences that ask for nothing but their mention, as timm writes them and as everybody does."""
CONSENT = {"dinov3-license": "dinov3", "dinov3": "dinov3"}
"""Names to give to `--accept-license` for others; where there is none, it is the licence's own name."""


class Source(NamedTuple):
    """What a model was pretrained on."""

    tag: str
    """Part of the model's name after the dot."""
    datasets: tuple[str, ...]
    is_supervised: bool


# the first that fits counts: what comes last in training is named last in a tag
SOURCES = (
    Source("lvd142m", ("lvd_142m",), False),
    Source("lvd1689m", ("lvd_1689m",), False),
    Source("sat493m", ("sat_493m",), False),
    Source("sa1b", ("sa_1b",), True),
    Source("in21k_ft_in1k", ("imagenet_21k", "imagenet_1k"), True),
    Source("in22k_ft_in1k", ("imagenet_22k", "imagenet_1k"), True),
    Source("in12k_ft_in1k", ("imagenet_12k", "imagenet_1k"), True),
    Source("in21k", ("imagenet_21k",), True),
    Source("in22k", ("imagenet_22k",), True),
    Source("in12k", ("imagenet_12k",), True),
    Source("in1k", ("imagenet_1k",), True),
)


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A model whose facts are known without asking timm."""

    model: str
    title: str
    parameters: int
    """In the file, its classifier included."""
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    dropped: tuple[str, ...] = ()
    """Of the file: classifier and what else no feature map needs."""
    licence: str = "Apache-2.0"
    citation: str


LISTED = (
    Listed(
        model="vit_small_patch14_reg4_dinov2.lvd142m",
        title="DINOv2 with registers, ViT-S/14, self-supervised on 142 million pictures",
        parameters=22_057_344,
        channels=(384,) * 4,
        strides=(14,) * 4,
        citation="Oquab et al. 2023, arXiv:2304.07193",
    ),
    Listed(
        model="vit_base_patch14_reg4_dinov2.lvd142m",
        title="DINOv2 with registers, ViT-B/14, self-supervised on 142 million pictures",
        parameters=86_582_016,
        channels=(768,) * 4,
        strides=(14,) * 4,
        citation="Oquab et al. 2023, arXiv:2304.07193",
    ),
    Listed(
        model="vit_small_patch16_dinov3.lvd1689m",
        title="DINOv3, ViT-S/16, self-supervised on 1.7 billion pictures",
        parameters=21_586_944,
        channels=(384,) * 4,
        strides=(16,) * 4,
        licence="dinov3-license",
        citation="Siméoni et al. 2025, arXiv:2508.10104",
    ),
    Listed(
        model="vit_base_patch16_dinov3.lvd1689m",
        title="DINOv3, ViT-B/16, self-supervised on 1.7 billion pictures",
        parameters=85_641_216,
        channels=(768,) * 4,
        strides=(16,) * 4,
        licence="dinov3-license",
        citation="Siméoni et al. 2025, arXiv:2508.10104",
    ),
    Listed(
        model="resnet50.a1_in1k",
        title="ResNet-50, supervised on ImageNet-1k (timm's recipe A1)",
        parameters=25_557_032,
        channels=(256, 512, 1024, 2048),
        strides=(4, 8, 16, 32),
        dropped=("fc",),
        citation="Wightman et al. 2021, arXiv:2110.00476",
    ),
    Listed(
        model="convnext_tiny.in12k_ft_in1k",
        title="ConvNeXt-T, supervised on ImageNet-12k, then 1k",
        parameters=28_589_128,
        channels=(96, 192, 384, 768),
        strides=(4, 8, 16, 32),
        dropped=("head",),
        citation="Liu et al. 2022, arXiv:2201.03545",
    ),
)
_BY_MODEL = {listed.model: listed for listed in LISTED}


def source_of(model: str) -> Source:
    """What a model was pretrained on, by the tag in its name; timm is asked for its default where there is none.

    Raises:
        StrategyError: timm does not know the model.
    """
    tag = model.partition(".")[2] or str(_asked(model)[1].get("tag") or "")
    return next((source for source in SOURCES if source.tag in tag), Source(tag, ("not_stated",), True))


def _spec(listed: Listed, repository: str) -> WeightsSpec:
    source = source_of(listed.model)
    licence = PERMISSIVE.get(listed.licence.lower(), listed.licence)
    consent, note = "", ""
    if licence == NOT_STATED:
        consent, note = listed.model, "timm states no licence of these weights"
    elif licence not in PERMISSIVE.values():
        consent, note = CONSENT.get(licence, licence), "the licence has terms of its own"
    return WeightsSpec(
        name=TIMM + listed.model,
        title=listed.title,
        file=f"timm/{listed.model}/model.safetensors",
        huggingface=(repository, "model.safetensors", "main"),
        architecture=f"strategies.backbones.timm_backbones:{listed.model}",
        dropped=listed.dropped,
        parameters=listed.parameters,
        manifest=f"timm_{listed.model}.json" if listed.model in _BY_MODEL else None,
        licence_code="Apache-2.0",
        licence_weights=licence,
        licence_note=note,
        consent=consent,
        min_bands=3,
        max_bands=3,
        stem="new",
        normalisation="pictures, standardised with the mean and spread that timm states for the model",
        datasets=source.datasets,
        sensors=("rgb_camera",),
        citation=listed.citation,
    )


SPECS = tuple(_spec(listed, f"timm/{listed.model}") for listed in LISTED)


@functools.cache
def timm_spec(name: str) -> WeightsSpec:
    """The datasheet of any model of timm, called `timm:<model>`; imports timm (a second) unless the model is listed.

    Raises:
        StrategyError: timm does not know the model, or has no weights of it in a file of its own layout.
    """
    for spec in SPECS:
        if spec.name == name:
            return spec
    model = name.removeprefix(TIMM)
    listed, config = _asked(model)
    if not config.get("hf_hub_id") or config.get("hf_hub_filename") or config.get("custom_load") == "hf":
        raise StrategyError(
            f"timm has no weights of {model!r} in a file of its own layout; allowed: another tag (timm.list_pretrained "
            f"shows them) or init random; set model"
        )
    return replace(_spec(listed, str(config["hf_hub_id"])), title=f"{model} of timm ({config.get('tag') or 'no tag'})")


def listed_of(model: str) -> Listed:
    """Channels, strides and what else is known of a model; imports timm unless the model is listed.

    Raises:
        StrategyError: timm does not know the model, or it gives no feature maps.
    """
    return _BY_MODEL.get(model) or _asked(model)[0]


@functools.cache
def _asked(model: str) -> tuple[Listed, dict[str, object]]:
    import timm
    import torch

    from strategies.backbones.timm_backbones import TimmLevels, check_any_size

    check_any_size(model)
    # shapes only: nothing is allocated
    with torch.device("meta"):
        levels = TimmLevels(model)
        whole = timm.create_model(model, pretrained=False) if timm.is_model(model) else levels.model
    kept = set(levels.model.state_dict())
    config = dict(levels.model.pretrained_cfg)
    listed = Listed(
        model=model,
        title=model,
        parameters=sum(parameter.numel() for parameter in whole.parameters()),
        channels=levels.channels,
        strides=levels.strides,
        dropped=tuple(sorted(set(whole.state_dict()) - kept)),
        licence=str(config.get("license") or NOT_STATED),
        citation="timm, doi:10.5281/zenodo.4414861",
    )
    return listed, config
