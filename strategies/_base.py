"""What every strategy is: a frozen dataclass whose fields are its hyperparameters.

A strategy module is imported at plan time, so it must not import torch (or scikit-learn, or timm) at module level:
only inside `build`, `fit` and the like. Only plain values and torch modules cross this seam: a strategy knows
nothing of Ray, MLflow, Optuna or the orchestrator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, get_type_hints, runtime_checkable

from strategies._checks import StrategyError as StrategyError
from strategies._checks import check_bands as check_bands
from strategies._checks import check_range as check_range
from strategies._checks import check_value
from strategies._declarations import Accepts as Accepts
from strategies._declarations import Bands as Bands
from strategies._declarations import Categorical as Categorical
from strategies._declarations import Distribution as Distribution
from strategies._declarations import Float as Float
from strategies._declarations import Initialisation as Initialisation
from strategies._declarations import Int as Int
from strategies._declarations import OwnPretraining as OwnPretraining
from strategies._declarations import Pretraining as Pretraining
from strategies._declarations import Quantity as Quantity
from strategies._declarations import Regime as Regime

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """Base of all strategies. Fields are hyperparameters; class variables are facts in plain data."""

    regime: Regime = "full"
    """Which weights train: frozen (head only), stem (input layer and head), lora, full."""
    init: Initialisation = "random"
    """Where the weights come from."""

    summary: ClassVar[str] = ""
    """One line for lists and tables."""
    kind: ClassVar[Literal["network", "estimator"]] = "network"
    """network: `build` gives a torch module. estimator: `fit` and `predict` on arrays (scikit-learn)."""
    regimes: ClassVar[tuple[Regime, ...]] = ("full",)
    """Regimes this strategy offers."""
    search_space: ClassVar[Mapping[str, Distribution]] = {}
    """Tuned fields, at most four; every key is a field and every default lies inside."""
    accepts: ClassVar[Accepts] = Accepts()
    pretraining: ClassVar[Pretraining | None] = None
    """None for strategies without published weights; they need no controls."""
    has_own_pretraining: ClassVar[bool] = False
    """Whether `own_pretraining` and `build_pretrainer` make the weights in a stage of the sweep."""
    pretraining_only_fields: ClassVar[tuple[str, ...]] = ()
    """Fields that change the own pretraining and nothing else: without it they mean nothing."""
    feature_fields: ClassVar[tuple[str, ...]] = ()
    """Fields that change what `cached_features` describes; read only where that is not None."""
    is_pixelwise: ClassVar[bool] = False
    """Whether stem and backbone look at each pixel on its own (the head may look at its neighbours)."""
    requires: ClassVar[tuple[str, ...]] = ()
    """Packages of an extra, by import name, without which it cannot be built; see `missing_packages`."""
    contract_fields: ClassVar[Mapping[str, Any]] = {}
    """Fields with which random weights are checked against the contract: a small model, where the default is large."""
    implementation_version: ClassVar[int] = 1
    """Raised by hand when a change alters numbers; it is in every run's key."""
    reference_step_s: ClassVar[float] = 0.05
    """Seconds of one optimiser step at the default batch on one CPU core, for cost estimates only.

    For an estimator: of one fit.
    """
    reference_pretraining_step_s: ClassVar[float] = 0.0
    """The same of one step of its own pretraining at as many windows; 0 = as `reference_step_s`."""

    def __post_init__(self) -> None:
        """Check the values of the fields.

        Raises:
            StrategyError: a choice that is not offered, a number that is not finite, or a regime or initialisation
                that this strategy does not have.
        """
        for name, hint in field_types(type(self)).items():
            check_value(type(self).__name__, name, getattr(self, name), hint)
        if self.regime not in self.regimes:
            raise StrategyError(
                f"regime {self.regime!r} is not offered; allowed: {', '.join(self.regimes)}; set one of these"
            )
        if self.init != "random" and self.pretraining is None and not self.has_own_pretraining:
            raise StrategyError(
                f"init {self.init!r} is not offered: this strategy has no weights; allowed: random; leave init out"
            )
        if self.init == "synthetic" and self.pretraining is None:
            raise StrategyError(
                "init 'synthetic' is not offered: there is no published file to imitate; allowed: pretrained, random"
            )

    @property
    def receptive_field_px(self) -> int:
        """Side in pixels of the neighbourhood that one output pixel can see; 1 = each pixel on its own."""
        raise NotImplementedError

    @property
    def window_px(self) -> int:
        """Side of the window whose centre pixel is classified (see `backbones.window_classifier`); 0 = no window."""
        return 0

    @property
    def inference_px(self) -> int:
        """Side of the square windows in which larger images are predicted and blended; 0 = images of any size."""
        return 0

    def cached_features(self, height_px: int, width_px: int) -> tuple[tuple[int, int, int], ...] | None:  # noqa: ARG002
        """Shapes (channels, height, width) of what the frozen part gives for an image, one a level.

        Defined where the model is an `AdaptableModel` whose stem and backbone are frozen: `model.features(x_BCHW)`
        then is the same at every step, is computed once and kept. None = there is nothing to keep.
        """
        return None

    def own_pretraining(self) -> OwnPretraining | None:
        """The `pretrain` stage that this instance builds on; None where it starts from random or published weights."""
        return None

    def check_transfer(self, sources: Sequence[Bands], target: Bands) -> None:  # noqa: ARG002
        """Whether what is pretrained on these bands can go on with the target's; asked at plan time, without torch.

        Raises:
            StrategyError: it cannot, and why.
        """
        return

    def build_pretrainer(self, sources: Sequence[Bands]) -> nn.Module:
        """The module that a `pretrain` stage trains.

        `forward(x_NCpp, labels_N, source)` gets normalised windows of `sources[source]` (labels are -1 where the
        pretraining is not supervised) and returns scalars by name, the loss under "loss". Random draws come from
        torch's global generator, which is seeded at every step. What `encoder_state()` returns is written to a
        safetensors file, and is what `build` gets as `weights_path`.
        """
        raise NotImplementedError

    def training_objective(self, model: nn.Module) -> nn.Module | None:  # noqa: ARG002
        """A loss of the strategy's own instead of `train.loss`; None = cross-entropy on the labelled pixels.

        A module that holds `model` as `model`. `forward(x_BCHW, y_BHW, unlabelled_NCpp, progress)` returns scalars by
        name, the loss under "loss"; `progress` is the share of the steps that is done, 0..1. After each optimiser step
        `after_step(progress)` is called. What it holds beside `model` is part of checkpoints and no part of the result.
        """
        return None

    @property
    def unlabelled_windows(self) -> int:
        """Windows of unlabelled training-side pixels a step that `training_objective` wants, over all workers."""
        return 0

    def space(self) -> Mapping[str, Distribution]:
        """The tuned fields of this instance (a regime may tune fewer than the class lists)."""
        return self.search_space

    def check_sensor(self, num_bands: int, wavelengths_nm: Sequence[float] | None) -> None:  # noqa: ARG002
        """What `accepts` cannot say in plain data; asked at plan time, so it must not import torch.

        Raises:
            StrategyError: this instance cannot take these bands, and why.
        """
        return

    def build(
        self,
        *,
        num_bands: int,
        wavelengths_nm: Sequence[float] | None,
        num_classes: int,
        image_size: int,
        weights_path: str | None = None,
    ) -> nn.Module:
        """The model: maps `x_BCHW` (float32, normalised) to logits `[B, num_classes, H, W]`, regime applied.

        Args:
            num_bands: bands of the data set, in the order of the cube.
            wavelengths_nm: band centres in nm, same order, or None where unknown.
            num_classes: number of scored classes.
            image_size: side in pixels of the patches it will be trained on.
            weights_path: local file with the weights; needed unless `init` is "random".

        Raises:
            StrategyError: a value the model cannot take, or weights that do not fit.
        """
        raise NotImplementedError

    def initialise_from_data(self, model: nn.Module, spectra_NC: np.ndarray) -> None:  # noqa: ARG002
        """Fit data-dependent initial weights (for example a PCA projection) on normalised training spectra `[N, C]`.

        Called once after `build`, before training, on rank 0's draw shared by all ranks. Default: nothing.
        """
        return

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """Optimiser groups: every trainable parameter exactly once, each group with its `lr`.

        Default: the field `learning_rate` for all of them.
        """
        from strategies.adaptation import parameter_groups

        return parameter_groups(model, learning_rate=self.learning_rate)  # type: ignore[attr-defined]


@runtime_checkable
class Estimator(Protocol):
    """The extra contract of strategies whose `kind` is "estimator"."""

    def features(self, cube_HWC: np.ndarray, visible_HW: np.ndarray) -> np.ndarray:
        """Features of every pixel, `[H, W, F]`, float32, from a normalised cube.

        Pixels where `visible_HW` is False must not be used; they may hold NaN.
        """

    def fit(self, features_NF: np.ndarray, labels_N: np.ndarray, *, seed: int) -> Any:
        """A fitted model (anything `predict` understands)."""

    def predict(self, model: Any, features_NF: np.ndarray) -> np.ndarray:
        """Class index of each row."""


_types: dict[type[Strategy], dict[str, Any]] = {}
_defaults: dict[type[Strategy], dict[str, Any]] = {}


def field_types(kind: type[Strategy]) -> Mapping[str, Any]:
    """The declared type of each field; worked out once a class, since a large grid asks thousands of times."""
    if kind not in _types:
        hints = get_type_hints(kind)
        _types[kind] = {f.name: hints[f.name] for f in fields(kind)}
    return _types[kind]


def default_values(kind: type[Strategy]) -> Mapping[str, Any]:
    """Every field with its default, resolved; worked out once a class."""
    if kind not in _defaults:
        _defaults[kind] = field_values(kind())
    return _defaults[kind]


def field_values(strategy: Strategy) -> dict[str, Any]:
    """All fields of a strategy, resolved, in declaration order."""
    return {f.name: getattr(strategy, f.name) for f in fields(strategy)}
