"""Fields that all strategies with an own pretraining on windows share, and what is checked about them.

Defaults are those of the reconstruction of arXiv:2601.18088, whose own numbers are not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from strategies._base import Accepts, Distribution, Float, Initialisation, Regime, Strategy, StrategyError, check_range

Switch = Literal["on", "off"]


@dataclass(frozen=True, kw_only=True)
class WindowFields(Strategy):
    """Fields of the strategies with a pretraining of their own on windows of source data sets, and their checks."""

    init: Initialisation = "pretrained"
    source: str = "enmap_potsdam"
    """Data sets that are learned from, joined by "+"; their windows take turns."""
    pool: Literal["source", "source+target_unlabelled", "target"] = "source"
    """Whose windows are learned from; of a target only its training side, never its labels."""
    pretrain_steps: int = 8000
    """Optimiser steps of the pretraining (some 200 epochs of 20,000 windows)."""
    pretrain_batch_size: int = 512
    """Windows a step."""
    pretrain_learning_rate: float = 1e-3
    """Learning rate of AdamW in the pretraining."""
    pretrain_weight_decay: float = 0.05
    """Weight decay of AdamW in the pretraining."""
    pretrain_warmup: float = 0.05
    """Share of the pretraining in which the learning rate rises; it falls along a cosine."""
    pretrain_seeds: int = 1
    """Independent pretrainings, dealt to the final seeds in turn."""

    adapter: Literal["resample", "pool", "mapping"] = "resample"
    """From a data set's bands to the common ones: interpolation, means of neighbours, or a learned 1x1 convolution."""
    grid: Literal["auto", "wavelength", "index"] = "auto"
    """What resampled common bands stand for; auto: wavelengths where all sources have them."""
    grid_low_nm: float = 400.0
    """First common wavelength; resample only."""
    grid_high_nm: float = 2500.0
    """Last common wavelength; resample only."""
    common_bands: int = 128
    """Bands that the encoder sees."""
    group_bands: int = 4
    """Neighbouring common bands in one spectral token."""
    patch: int = 9
    """Side in pixels of the windows; a larger one wins on random splits by leakage alone."""
    width: int = 64
    """Length of a token."""
    depth: int = 4
    """Transformer blocks."""
    heads: int = 4
    """Attention heads."""
    feed_forward: int = 4
    """Factor of the width inside of feed-forward layers."""
    representation: Literal["pooled", "cls"] = "pooled"
    """Features of a window: means of its tokens, or the class tokens in their place."""

    learning_rate: float = 1e-3
    """Learning rate of AdamW for new layers."""
    encoder_learning_rate: float = 3e-4
    """Learning rate of AdamW for the encoder; regime full only."""
    frozen_blocks: int = 0
    """First transformer blocks that stay as pretrained, with all before them; regime full only, 0 = none."""
    head: Literal["linear", "prototype"] = "linear"
    """Classifier of the features: linear, or by the angle to a learned prototype of each class (very few labels)."""
    dropout: float = 0.1
    """Dropout in the encoder and before the classifier while fine-tuning."""
    label_smoothing: float = 0.1
    """Share of the target that is spread over all classes."""
    turns: Switch = "on"
    """Whether windows are mirrored and turned by quarters at random while fine-tuning."""
    gain: float = 0.1
    """Windows are multiplied by a random number from 1 - gain to 1 + gain while fine-tuning."""
    noise: float = 0.04
    """Standard deviation of the noise added to windows while fine-tuning."""

    pretraining_only_fields: ClassVar[tuple[str, ...]] = (
        *("source", "pool", "pretrain_steps", "pretrain_batch_size", "pretrain_learning_rate"),
        *("pretrain_weight_decay", "pretrain_warmup", "pretrain_seeds"),
    )
    regimes: ClassVar[tuple[Regime, ...]] = ("frozen", "full")
    search_space: ClassVar[Mapping[str, Distribution]] = {
        "learning_rate": Float(1e-4, 1e-2, log=True),
        "encoder_learning_rate": Float(3e-5, 3e-3, log=True),
        "dropout": Float(0.0, 0.5),
    }
    accepts: ClassVar[Accepts] = Accepts(min_bands=3, normalisation="per_band_zscore")
    has_own_pretraining: ClassVar[bool] = True
    is_supervised: ClassVar[bool] = False
    """Whether the pretraining uses labels."""
    pretrain_fields: ClassVar[tuple[str, ...]] = ()
    """Fields beyond those of this class that change the pretraining."""
    smallest_patch: ClassVar[int] = 3
    contract_fields: ClassVar[Mapping[str, Any]] = {
        **{"common_bands": 32, "patch": 5, "width": 16, "depth": 1, "heads": 2},
    }

    def __post_init__(self) -> None:
        for name in self.switches():
            if isinstance(getattr(self, name), bool):  # YAML reads on and off as true and false
                object.__setattr__(self, name, "on" if getattr(self, name) else "off")
        super().__post_init__()
        for name, low, high in (
            *(("pretrain_steps", 1, 10**8), ("pretrain_batch_size", 1, 2**20), ("pretrain_seeds", 1, 1000)),
            *(("pretrain_learning_rate", 1e-8, 10), ("pretrain_weight_decay", 0, 10), ("pretrain_warmup", 0, 1)),
            *(("grid_low_nm", 1, 1e5), ("grid_high_nm", 1, 1e5), ("common_bands", 4, 4096), ("group_bands", 1, 256)),
            *(("patch", self.smallest_patch, 65), ("width", 8, 4096), ("depth", 1, 64), ("heads", 1, 64)),
            *(("feed_forward", 1, 16), ("learning_rate", 1e-8, 10), ("encoder_learning_rate", 1e-8, 10)),
            *(("dropout", 0, 0.95), ("label_smoothing", 0, 0.9), ("gain", 0, 0.99), ("noise", 0, 10)),
        ):
            check_range(name, getattr(self, name), low, high)
        check_range("frozen_blocks", self.frozen_blocks, 0, self.depth)
        if self.frozen_blocks and (self.regime != "full" or self.adapter == "mapping"):
            raise StrategyError(
                f"frozen_blocks {self.frozen_blocks} with regime {self.regime!r} and adapter {self.adapter!r}; "
                "allowed: regime full and a fixed adapter (resample, pool); leave frozen_blocks out"
            )
        self._check_divisions()
        if not self.sources() and self.pool != "target":
            raise StrategyError(f"source {self.source!r} names no data set; give one or more, joined by '+'")
        if self.adapter == "mapping" and self.regime == "frozen":
            raise StrategyError(
                "adapter 'mapping' is new for every data set, so regime 'frozen' would never train it; "
                "use regime full, or adapter resample"
            )

    def _check_divisions(self) -> None:
        if self.patch % 2 == 0:
            raise StrategyError(f"patch {self.patch} is even; allowed: odd numbers, so that a window has a centre")
        if self.grid_low_nm >= self.grid_high_nm:
            raise StrategyError(
                f"grid_low_nm {self.grid_low_nm:g} is not below grid_high_nm {self.grid_high_nm:g}; set it lower"
            )
        for name, parts in (("common_bands", "group_bands"), ("width", "heads")):
            if getattr(self, name) % getattr(self, parts):
                raise StrategyError(
                    f"{name} {getattr(self, name)} is no multiple of {parts} {getattr(self, parts)}; set one that is"
                )

    def switches(self) -> tuple[str, ...]:
        """Names of the fields that are on or off."""
        return ("turns",)

    def sources(self) -> tuple[str, ...]:
        """The data sets named in `source`, each once."""
        return tuple(dict.fromkeys(name.strip() for name in self.source.split("+") if name.strip()))

    @property
    def receptive_field_px(self) -> int:
        return self.patch

    @property
    def window_px(self) -> int:
        return self.patch

    def space(self) -> Mapping[str, Distribution]:
        trained = ("learning_rate", "dropout") if self.regime == "frozen" else tuple(self.search_space)
        return {name: self.search_space[name] for name in trained}

    def check_sensor(self, num_bands: int, wavelengths_nm: Sequence[float] | None) -> None:  # noqa: ARG002
        """See `Strategy.check_sensor`."""
        if self.adapter != "resample" or self.grid == "index":
            return
        if wavelengths_nm is None:
            if self.grid == "wavelength":
                raise StrategyError(
                    "wavelengths are unknown: grid 'wavelength' needs them; give them, or set grid: index"
                )
            return
        if max(wavelengths_nm) < self.grid_low_nm or min(wavelengths_nm) > self.grid_high_nm:
            raise StrategyError(
                f"bands from {min(wavelengths_nm):g} to {max(wavelengths_nm):g} nm lie outside of the common bands, "
                f"{self.grid_low_nm:g} to {self.grid_high_nm:g} nm; give wavelengths in nm, or widen them"
            )
