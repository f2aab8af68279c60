"""Vision models of timm, pretrained on RGB pictures: DINOv2, DINOv3, networks of ImageNet, any other by its name.

What differs from model to model is its name alone; how many bands become what it knows is the field `input`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, overload

from strategies._base import Accepts, Pretraining, StrategyError
from strategies._foundation import FoundationModel, Parts
from strategies._levels import map_sides
from strategies._responses import rgb_responses
from strategies._rgb import choose_rgb
from strategies.backbones._specs import TIMM

DEFAULT = "vit_small_patch14_reg4_dinov2.lvd142m"
WITHOUT_WEIGHTS = ("pseudo_rgb", "pca3")
"""Inputs whose layer has nothing to train."""


def check_model_name(model: object) -> None:
    """Refuse what cannot be a name of timm's.

    Raises:
        StrategyError: with a name that can be given.
    """
    if not isinstance(model, str) or not re.fullmatch(r"\w[\w.\-]*", model):
        raise StrategyError(f"model {model!r} is no name of timm's; allowed: such as {DEFAULT}; set model")


def weights_of(model: str) -> str:
    """Name of a timm model's weights in the registry."""
    return TIMM + model


def _pretraining(model: str) -> Pretraining:
    from strategies.backbones._specs.timm_vision import source_of

    source = source_of(model)
    return Pretraining(
        weights=weights_of(model),
        modality="rgb",
        domain="remote" if source.tag == "sat493m" else "natural_images",
        datasets=source.datasets,
        sensors=("rgb_camera",),
        supervised=source.is_supervised,
    )


class PretrainingOfModel:
    """`pretraining` of a class is that of the default model, and of an instance that of its own."""

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Pretraining | None: ...
    @overload
    def __get__(self, instance: Any, owner: type[Any]) -> Pretraining | None: ...
    def __get__(self, instance: Any, owner: type[Any]) -> Pretraining | None:
        """The pretraining, by the name of the model."""
        return _pretraining(DEFAULT if instance is None else instance.model)


@dataclass(frozen=True, kw_only=True)
class TimmVision(FoundationModel):
    """Any vision model of timm as a frozen or trained backbone, fed with what many bands are made into.

    Plain vision transformers give four of their blocks, convolutional networks and Swin their stages from stride 4 on.
    A model that takes images of one size only is refused.
    """

    model: str = DEFAULT
    """A name that timm knows, with its tag: resnet50.a1_in1k, convnext_tiny.in12k_ft_in1k, ..."""
    size: Literal["published", "reduced"] = "published"
    """reduced: a tiny vision transformer without weights in place of `model`, for tests."""
    input: Literal["pseudo_rgb", "pca3", "projection", "inflation", "wavelength_inflation"] = "projection"
    """What the model is shown of the bands.

    pseudo_rgb: the three bands nearest to red, green and blue. pca3: three principal components. projection: a learned
    1x1 convolution, at first red, green and blue as a camera would see them. inflation: the model's first convolution
    for all bands, colours in turn. wavelength_inflation: each band gets the colours' kernels by its wavelength.
    """
    rgb_bands: str = ""
    """Three 0-based bands such as "14,7,0" for pseudo_rgb; empty = nearest to 640, 550 and 460 nm."""

    summary: ClassVar[str] = "a vision model of timm (DINOv2 by default), pretrained on RGB pictures"
    accepts: ClassVar[Accepts] = Accepts(min_bands=3)
    pretraining: ClassVar[Pretraining | None] = PretrainingOfModel()  # type: ignore[assignment]
    feature_fields: ClassVar[tuple[str, ...]] = ("model", "size", "input", "rgb_bands", "enlarge")
    reference_step_s: ClassVar[float] = 1.2

    def __post_init__(self) -> None:
        # first: what the model was pretrained on is read from its name
        check_model_name(self.model)
        super().__post_init__()
        if self.regime == "stem" and self.input in WITHOUT_WEIGHTS and not self.stem_blocks:
            raise StrategyError(
                f"regime 'stem' trains the input layer, but that of input {self.input!r} has no weights; allowed: "
                "input projection, inflation or wavelength_inflation, or stem_blocks above 0; set one of these"
            )
        if self.rgb_bands and self.input != "pseudo_rgb":
            raise StrategyError(f"rgb_bands {self.rgb_bands!r} is for input pseudo_rgb; set it or leave rgb_bands out")

    def weights_name(self) -> str:
        return weights_of(self.model)

    def check_sensor(self, num_bands: int, wavelengths_nm: Sequence[float] | None) -> None:
        """Bands to choose and wavelengths to weigh by must be there; see `Strategy.check_sensor`."""
        if self.input == "pseudo_rgb":
            choose_rgb(num_bands, wavelengths_nm, self.rgb_bands)
        if self.input == "wavelength_inflation":
            rgb_responses(wavelengths_nm, wanted_by="input wavelength_inflation")

    def cached_features(self, height_px: int, width_px: int) -> tuple[tuple[int, int, int], ...] | None:
        if self.regime != "frozen":
            return None
        from strategies.backbones._specs.timm_vision import listed_of

        known: tuple[tuple[int, ...], tuple[int, ...]] = ((32,) * 4, (8,) * 4)
        if self.size == "published":
            listed = listed_of(self.model)
            known = listed.channels, listed.strides
        coarsest = max(known[1])
        height, width = map_sides(height_px, width_px, patch_px=coarsest, enlarge=self.enlarge)
        return tuple(
            (channels, height * coarsest // stride, width * coarsest // stride)
            for channels, stride in zip(*known, strict=True)
        )

    def make_parts(self, num_bands: int, wavelengths_nm: Sequence[float] | None) -> Parts:
        from strategies.backbones.rgb_stems import make_stem
        from strategies.backbones.timm_backbones import REDUCED, TimmLevels, check_any_size

        name = REDUCED if self.size == "reduced" else self.model
        self.check_sensor(num_bands, wavelengths_nm)
        check_any_size(name)
        backbone = TimmLevels(name)
        return Parts(
            stem=make_stem(self.input, num_bands, wavelengths_nm, rgb_bands=self.rgb_bands),
            backbone=backbone,
            channels=backbone.channels,
            multiple_px=max(backbone.strides),
            first_blocks=backbone.stages(),
        )

    def filled(self, parts: Parts) -> Any:
        return parts.backbone.model

    def finished(self, parts: Parts, num_bands: int, wavelengths_nm: Sequence[float] | None) -> Parts:
        """Inflation widens the first convolution after it has its weights, and makes it the input layer."""
        from strategies.backbones.rgb_stems import INFLATING, inflated
        from strategies.backbones.timm_backbones import TimmLevels

        if self.input not in INFLATING:
            return parts
        assert isinstance(parts.backbone, TimmLevels)
        first = parts.backbone.take_first_convolution()
        return replace(parts, stem=inflated(self.input, first, num_bands, wavelengths_nm))

    def initialise_from_data(self, model: Any, spectra_NC: Any) -> None:
        """Take components and statistics; see `Strategy.initialise_from_data`."""
        from strategies.backbones.rgb_stems import fit_stem

        fit_stem(model, spectra_NC)

    def layers_of(self, model: Any) -> tuple[str, ...]:
        """Stem, patch embedding and the like, then blocks or stages."""
        return ("stem", "backbone", *(f"backbone.{stage}" for stage in model.backbone.stages()))


STRATEGY = TimmVision
