"""Diffusion-aligned fine-tuning: a student follows its teacher along a trajectory of features.

A reconstruction: the abstract of arXiv:2601.18088 names a distillation at fine-tuning, in which teacher and student
align "semantic evolution trajectories" by diffusion. What the trajectory is, the teacher, terms and weights are
choices of this project; `trajectory` keeps the readings apart.
"""

from __future__ import annotations

import copy
import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from strategies.backbones.window_classifier import WindowClassifier
from strategies.objectives.diffusion import Denoiser, NoiseSchedule, trajectory
from strategies.objectives.fine_tuning import FineTuning, FineTuningSettings

Trajectory = Literal["noise", "inputs", "layers", "features"]
Teacher = Literal["ema", "frozen"]


class AlignmentSettings(NamedTuple):
    """Numbers of the alignment."""

    teacher: Teacher
    trajectory: Trajectory
    """What the places are.

    noise: features told apart from noise, from the noisiest level to the least; inputs: features of noised windows,
    from the noisiest level to the clean window; layers: features after each block; features: the last ones only.
    """
    levels: tuple[int, ...]
    steps: int
    variance_first: float
    variance_last: float
    denoiser_width: int
    position_weight: float
    velocity_weight: float
    distillation_weight: float
    denoising_weight: float
    temperature: float
    distillation_start: float
    """Share of the steps before the teacher's head is listened to."""
    ramp: float
    """Share of the steps in which the alignment's weight rises from 0 to 1."""
    final_weight: float
    ema_first: float
    ema_last: float


class DiffusionAlignedFineTuning(FineTuning):
    """Fine-tuning with a teacher, which begins as a copy of the student and sees the windows undisturbed."""

    def __init__(self, model: WindowClassifier, settings: FineTuningSettings, alignment: AlignmentSettings) -> None:
        super().__init__(model, settings)
        self.alignment = alignment
        self.teacher = copy.deepcopy(model).requires_grad_(False).eval()
        self.denoiser: Denoiser | None = None
        if alignment.trajectory in ("noise", "inputs"):
            self.schedule = NoiseSchedule(alignment.steps, alignment.variance_first, alignment.variance_last)
        if alignment.trajectory == "noise":
            features = model.backbone.num_features
            self.denoiser = Denoiser(features, alignment.denoiser_width, alignment.steps)  # type: ignore[arg-type]

    def train(self, mode: bool = True) -> DiffusionAlignedFineTuning:
        """Set the mode of all but the teacher, which stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(
        self, x_BCHW: Tensor, y_BHW: Tensor, unlabelled_NCpp: Tensor | None = None, progress: float = 0.0
    ) -> dict[str, Tensor]:
        """The loss and its terms by name; labelled and unlabelled windows are aligned, labelled ones classified."""
        alignment = self.alignment
        windows = x_BCHW if unlabelled_NCpp is None else torch.cat([x_BCHW, unlabelled_NCpp])
        noise = torch.randn_like(windows) if alignment.trajectory == "inputs" else None  # the same for both
        with torch.no_grad():
            taught = self._levels(self.teacher, windows, noise)
        learnt = self._levels(self.model, self.disturbed(windows), noise)
        terms = {"cross_entropy": self.cross_entropy(learnt[-1], y_BHW)}
        loss = terms["cross_entropy"]
        weight = ramped(progress, alignment.ramp, alignment.final_weight)
        terms["position"], terms["velocity"], denoising = self._align(learnt, taught)
        pull = alignment.position_weight * terms["position"] + alignment.velocity_weight * terms["velocity"]
        if alignment.distillation_weight > 0 and alignment.teacher == "ema":  # a frozen teacher's head never learned
            terms["distillation"] = self._distil(learnt[-1], taught[-1]) * (progress >= alignment.distillation_start)
            pull = pull + alignment.distillation_weight * terms["distillation"]
        loss = loss + weight * pull
        if denoising is not None:
            terms["denoising"] = denoising
            loss = loss + alignment.denoising_weight * denoising
        terms = {name: value.detach() for name, value in terms.items()}
        return {"loss": loss, **terms, "alignment_weight": loss.new_tensor(weight)}

    def after_step(self, progress: float) -> None:
        """Move the teacher towards the student, more slowly near the end; a frozen one stays."""
        if self.alignment.teacher == "frozen":
            return
        first, last = self.alignment.ema_first, self.alignment.ema_last
        kept = last - (last - first) * (math.cos(math.pi * min(1.0, progress)) + 1) / 2
        with torch.no_grad():
            for slow, fast in zip(self.teacher.parameters(), self.model.parameters(), strict=True):
                slow.lerp_(fast, 1 - kept)
            for old, new in zip(self.teacher.buffers(), self.model.buffers(), strict=True):
                old.copy_(new)

    def _levels(self, model: WindowClassifier, windows_NCpp: Tensor, noise_NCpp: Tensor | None) -> list[Tensor]:
        """Features of noised windows or after each block, where it has them; the last are the plain ones."""
        if noise_NCpp is not None:
            noised = [self.schedule.noised(windows_NCpp, noise_NCpp, level) for level in self._descending()]
            return list(torch.split(model.window_features(torch.cat([*noised, windows_NCpp])), len(windows_NCpp)))
        if self.alignment.trajectory != "layers":
            return [model.window_features(windows_NCpp)]
        found: list[Tensor] = model.backbone.levels(model.stem(windows_NCpp))  # type: ignore[operator]
        return found

    def _descending(self) -> list[int]:
        return sorted(self.alignment.levels, reverse=True)

    def _align(self, learnt: list[Tensor], taught: list[Tensor]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Terms of position and velocity, and the denoiser's own loss where there is one."""
        student = torch.stack([unit_variance(z) for z in learnt])
        teacher = torch.stack([unit_variance(z) for z in taught])
        weights = torch.full((len(student),), 1 / len(student), device=student.device)
        denoising: Tensor | None = None
        if self.alignment.trajectory == "inputs":
            weights = self._shares([*self._descending(), 0], student.device)
        if self.denoiser is not None:
            clean, levels = teacher[-1], self.alignment.levels
            denoising = self._denoise(clean)
            noise = torch.randn_like(clean)  # the same for both
            student = trajectory(self.denoiser, self.schedule, student[-1], noise, levels)
            with torch.no_grad():
                teacher = trajectory(self.denoiser, self.schedule, clean, noise, levels)
            weights = self._shares(self._descending(), student.device)
        apart_K = (1 - functional.cosine_similarity(student, teacher, dim=-1)).mean(1)
        position = (weights * apart_K).sum()
        if len(student) == 1:
            return position, torch.zeros_like(position), denoising
        velocity = (student.diff(dim=0) - teacher.diff(dim=0)).square().mean()
        return position, velocity, denoising

    def _shares(self, levels: list[int], device: torch.device) -> Tensor:
        """Weights of the places: the more signal, the more it counts; their sum is 1."""
        shares = self.schedule.share(torch.tensor(levels, device=device))
        return shares / shares.sum()

    def _denoise(self, clean_NF: Tensor) -> Tensor:
        """Mean squared error of the denoiser on the teacher's features at random steps."""
        assert self.denoiser is not None
        step_N = torch.randint(1, self.alignment.steps + 1, (len(clean_NF),), device=clean_NF.device)
        noised = self.schedule.noised(clean_NF, torch.randn_like(clean_NF), step_N)
        return functional.mse_loss(self.denoiser(noised, step_N).float(), clean_NF)

    def _distil(self, learnt_NF: Tensor, taught_NF: Tensor) -> Tensor:
        """Divergence of the student's answers from the teacher's, at a temperature, times its square."""
        temperature = self.alignment.temperature
        with torch.no_grad():
            wanted = functional.log_softmax(self.teacher.classify_features(taught_NF).float() / temperature, dim=1)
        given = functional.log_softmax(self.model.classify_features(learnt_NF).float() / temperature, dim=1)
        return temperature**2 * functional.kl_div(given, wanted, reduction="batchmean", log_target=True)


def unit_variance(z_NF: Tensor) -> Tensor:
    """Features scaled to a mean square of 1, so that the schedule's ratio of signal to noise means something."""
    return functional.normalize(z_NF.float(), dim=-1) * math.sqrt(z_NF.shape[-1])


def ramped(progress: float, ramp: float, final: float) -> float:
    """Weight that rises from 0 to 1 over the first steps and falls to `final` along a cosine."""
    if progress < ramp:
        return progress / ramp
    done = (progress - ramp) / max(1e-9, 1 - ramp)
    return final + (1 - final) * (math.cos(math.pi * min(1.0, done)) + 1) / 2
