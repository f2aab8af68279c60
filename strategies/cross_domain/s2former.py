"""S2Former with frequency-domain constraint and diffusion-aligned fine-tuning, reconstructed from an abstract.

Only the abstract of arXiv:2601.18088 was available. What it names is here: self-supervised pretraining on a source
without labels, a spatial branch with random masking and a spectral branch joined by bidirectional cross-attention, an
rFFT constraint with a high-frequency magnitude loss, and a teacher and student that align trajectories by diffusion.
Every number and every reading of a word is a field; results are those of this reconstruction, not the paper's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from strategies._base import Bands, Distribution, Float, StrategyError, check_range
from strategies._window_transfer import Switch, WindowTransfer

if TYPE_CHECKING:
    from torch import nn

    from strategies.backbones.s2former import S2Encoder
    from strategies.objectives.daft import AlignmentSettings


@dataclass(frozen=True, kw_only=True)
class S2Former(WindowTransfer):
    """Masked pretraining on windows of sources; fine-tuning of a classifier of windows beside a teacher."""

    cross_attention: Literal["both", "off"] = "both"
    """Between the branches in every block; off: two branches on their own."""
    layer_scale: float = 0.1
    """Initial factor on what the branches take from each other."""
    mask_ratio: float = 0.75
    """Share of the pixels that is hidden from both branches; the centre never is."""
    spectral_mask_ratio: float = 0.0
    """Share of the spectral tokens that is dropped in pretraining."""
    decoder_width: int = 48
    """Length of a token in the spatial decoder; pretraining only."""
    decoder_depth: int = 1
    """Blocks in each decoder; pretraining only."""
    frequency_weight: float = 0.1
    """Weight of the rFFT consistency."""
    high_frequency_weight: float = 0.1
    """Weight of the high-frequency magnitude loss."""
    frequency_axes: Literal["spatial", "spectral", "both"] = "both"
    """Where the frequency constraint looks: the plane of the window, along the bands, or both."""
    frequency_cutoff: float = 0.25
    """Frequencies above it, in cycles a sample, are high."""
    frequency_distance: Literal["l1", "l2", "log", "focal"] = "l1"
    """Distance of spectra; l2 equals the squared error of the pixels and adds nothing."""
    spectral_high_share: float = 1.0
    """Factor on the high frequencies along the bands, which are mostly noise of the sensor."""
    consistency_weight: float = 0.0
    """Weight of the agreement between the branches in pretraining."""
    variance_weight: float = 1.0
    """Weight, inside of the agreement, of the floor under the spread of features."""

    daft: Switch = "on"
    """Whether fine-tuning follows a teacher; regime full only."""
    teacher: Literal["ema", "frozen"] = "ema"
    """A moving average of the student, or the pretrained model as it was."""
    trajectory: Literal["noise", "inputs", "layers", "features"] = "noise"
    """What is aligned: features on their way out of noise, or of noised windows, after each block, or the last."""
    diffusion_levels: str = "10+40+80+120"
    """Noise levels of the trajectory, in steps of the schedule, joined by "+"."""
    diffusion_steps: int = 200
    """Steps of the noise schedule."""
    variance_first: float = 1e-4
    """Variance of the noise in the schedule's first step."""
    variance_last: float = 0.02
    """Variance of the noise in the schedule's last step."""
    denoiser_width: int = 256
    """Hidden width of the denoiser."""
    position_weight: float = 5.0
    """Weight of the trajectory's places."""
    velocity_weight: float = 0.5
    """Weight of the trajectory's steps from place to place."""
    distillation_weight: float = 0.5
    """Weight of the teacher's answers; an EMA teacher only."""
    denoising_weight: float = 1.0
    """Weight of the denoiser's own loss."""
    temperature: float = 2.0
    """Temperature of the teacher's answers."""
    distillation_start: float = 0.2
    """Share of the steps before the teacher's answers count."""
    ramp: float = 0.2
    """Share of the steps in which the alignment's weight rises from 0 to 1."""
    final_weight: float = 0.1
    """Weight of the alignment at the end, reached along a cosine."""
    ema_first: float = 0.996
    """Share of itself that an EMA teacher keeps a step, at the start."""
    ema_last: float = 0.9999
    """The same at the end."""
    unlabelled_batch_size: int = 64
    """Unlabelled windows a step of the target's training side, which are aligned along with the labelled ones."""

    summary: ClassVar[str] = "S2Former with FDC and DAFT, pretrained here; a reconstruction from an abstract"
    search_space: ClassVar[Mapping[str, Distribution]] = {
        **WindowTransfer.search_space,
        "position_weight": Float(0.05, 50.0, log=True),
    }
    pretraining_only_fields: ClassVar[tuple[str, ...]] = (
        *WindowTransfer.pretraining_only_fields,
        *("mask_ratio", "spectral_mask_ratio", "decoder_width", "decoder_depth", "frequency_weight"),
        *("high_frequency_weight", "frequency_axes", "frequency_cutoff", "frequency_distance", "spectral_high_share"),
        *("consistency_weight", "variance_weight"),
    )
    pretrain_fields: ClassVar[tuple[str, ...]] = (
        *("cross_attention", "layer_scale", "mask_ratio", "spectral_mask_ratio", "decoder_width", "decoder_depth"),
        *("frequency_weight", "high_frequency_weight", "frequency_axes", "frequency_cutoff", "frequency_distance"),
        *("spectral_high_share", "consistency_weight", "variance_weight"),
    )
    contract_fields: ClassVar[Mapping[str, Any]] = {**WindowTransfer.contract_fields, "decoder_width": 16}
    reference_step_s: ClassVar[float] = 1.3
    reference_pretraining_step_s: ClassVar[float] = 0.45

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, low, high in (
            *(("layer_scale", 0, 10), ("mask_ratio", 0.05, 0.99), ("spectral_mask_ratio", 0, 0.95)),
            *(("decoder_width", 4, 4096), ("decoder_depth", 1, 16), ("frequency_weight", 0, 1e3)),
            *(("high_frequency_weight", 0, 1e3), ("frequency_cutoff", 0, 0.49), ("spectral_high_share", 0, 1)),
            *(("consistency_weight", 0, 1e3), ("variance_weight", 0, 1e3), ("diffusion_steps", 1, 10_000)),
            *(("variance_first", 1e-8, 0.5), ("variance_last", 1e-8, 0.99), ("denoiser_width", 4, 8192)),
            *(("position_weight", 0, 1e4), ("velocity_weight", 0, 1e4), ("distillation_weight", 0, 1e4)),
            *(("denoising_weight", 0, 1e4), ("temperature", 0.1, 100), ("distillation_start", 0, 1)),
            *(("ramp", 0, 1), ("final_weight", 0, 10), ("ema_first", 0, 1), ("ema_last", 0, 1)),
            ("unlabelled_batch_size", 0, 2**20),
        ):
            check_range(name, getattr(self, name), low, high)
        self._check_levels()
        if self.decoder_width % self.heads:
            raise StrategyError(
                f"decoder_width {self.decoder_width} is no multiple of heads {self.heads}; set one that is"
            )
        if int(self.mask_ratio * self.patch**2) < 1:
            raise StrategyError(f"mask_ratio {self.mask_ratio:g} hides no pixel of {self.patch}x{self.patch}; raise it")

    def _check_levels(self) -> None:
        levels = self.levels()
        if not levels or not all(0 < level <= self.diffusion_steps for level in levels):
            raise StrategyError(
                f"diffusion_levels {self.diffusion_levels!r}; allowed: whole numbers from 1 to diffusion_steps "
                f"{self.diffusion_steps}, joined by '+'; set such a list"
            )

    def levels(self) -> tuple[int, ...]:
        """Noise levels of the trajectory, ascending; empty where the text is no list of whole numbers."""
        parts = [part.strip() for part in str(self.diffusion_levels).split("+")]
        return tuple(sorted({int(part) for part in parts})) if all(part.isdecimal() for part in parts) else ()

    def switches(self) -> tuple[str, ...]:
        return ("turns", "daft")

    @property
    def is_aligned(self) -> bool:
        """Whether there is a teacher: a frozen encoder has nothing to align."""
        return self.daft == "on" and self.regime == "full"

    @property
    def unlabelled_windows(self) -> int:
        return self.unlabelled_batch_size if self.is_aligned else 0

    def space(self) -> Mapping[str, Distribution]:
        return {name: value for name, value in super().space().items() if name != "position_weight" or self.is_aligned}

    def make_encoder(self, *, dropout: float) -> S2Encoder:
        """See `WindowTransfer.make_encoder`."""
        from strategies.backbones.s2former import S2Encoder

        sizes = self.sizes(dropout)._replace(
            layer_scale=self.layer_scale, cross_attention=self.cross_attention == "both"
        )
        return S2Encoder(sizes)

    def build_pretrainer(self, sources: Sequence[Bands]) -> nn.Module:
        """See `Strategy.build_pretrainer`."""
        from strategies.objectives.frequency import FrequencyConstraint
        from strategies.objectives.masked_reconstruction import MaskedReconstruction, MaskingSettings

        encoder, adapters = self.pretraining_parts(sources)
        constraint = FrequencyConstraint(
            axes=self.frequency_axes,
            cutoff=self.frequency_cutoff,
            distance=self.frequency_distance,
            spectral_high_share=self.spectral_high_share,
        )
        settings = MaskingSettings(**{name: getattr(self, name) for name in MaskingSettings._fields})
        return MaskedReconstruction(encoder, adapters, constraint, settings)

    def training_objective(self, model: nn.Module) -> nn.Module | None:
        """See `Strategy.training_objective`."""
        from strategies.objectives.daft import DiffusionAlignedFineTuning

        if not self.is_aligned:
            return super().training_objective(model)
        return DiffusionAlignedFineTuning(model, self.fine_tuning_settings(), self.alignment())  # type: ignore[arg-type]

    def alignment(self) -> AlignmentSettings:
        """Numbers of the alignment."""
        from strategies.objectives.daft import AlignmentSettings

        own = {"levels": self.levels(), "steps": self.diffusion_steps}
        same = {name: getattr(self, name) for name in AlignmentSettings._fields if name not in own}
        return AlignmentSettings(**own, **same)  # type: ignore[arg-type]


STRATEGY = S2Former
