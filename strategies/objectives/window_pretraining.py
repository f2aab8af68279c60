"""What the pretrainings of window encoders share: one adapter a source, and the state that is handed on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from strategies.backbones.s2former import S2Encoder
from strategies.backbones.spectral_mae import SpectralEncoder


class WindowPretrainer(nn.Module):
    """An encoder with the band adapters of its sources; adapters stay behind, only the encoder is handed on."""

    def __init__(self, encoder: S2Encoder | SpectralEncoder, adapters: Sequence[nn.Module]) -> None:
        super().__init__()
        self.encoder, self.adapters = encoder, nn.ModuleList(adapters)
        self._present = [_ends(self.present(number)) for number in range(len(self.adapters))]

    def encoder_state(self) -> dict[str, Tensor]:
        """What a strategy's `build` loads."""
        return {key: value.detach().cpu().contiguous() for key, value in self.encoder.state_dict().items()}

    def common(self, x_NCpp: Tensor, source: int) -> Tensor:
        """Windows of one source in common bands `[N, C0, p, p]`."""
        found: Tensor = self.adapters[source](x_NCpp)
        return found

    def present(self, source: int) -> Tensor:
        """Which common bands the source has, `[C0]`."""
        found: Tensor = self.adapters[source].present_K  # type: ignore[assignment]
        return found

    def present_range(self, source: int) -> tuple[int, int]:
        """First common band that the source has, and the first after them: they lie side by side."""
        return self._present[source]

    def groups(self, source: int) -> Tensor:
        """Numbers of the groups of common bands that the source has."""
        found: Tensor = self.adapters[source].groups  # type: ignore[assignment]
        return found


class SupervisedPretrainer(WindowPretrainer):
    """Classifies the centre pixel of labelled windows: one linear head a source, since classes differ."""

    def __init__(
        self,
        encoder: S2Encoder | SpectralEncoder,
        adapters: Sequence[nn.Module],
        num_classes: Sequence[int],
        *,
        label_smoothing: float,
    ) -> None:
        super().__init__(encoder, adapters)
        self.heads = nn.ModuleList(nn.Linear(encoder.num_features, count) for count in num_classes)
        self.label_smoothing = label_smoothing

    def forward(self, x_NCpp: Tensor, labels_N: Tensor, source: int) -> dict[str, Tensor]:
        """Cross-entropy of the windows with a label, and the share that is told right."""
        features = self.encoder(self.common(x_NCpp, source), groups=self.groups(source))
        logits = self.heads[source](features).float()
        labels, count = labels_N.long(), (labels_N >= 0).sum().clamp_min(1)
        total = functional.cross_entropy(
            logits, labels, ignore_index=-1, reduction="sum", label_smoothing=self.label_smoothing
        )
        others = unused(self.heads, source) + unused(self.adapters, source)
        return {
            "loss": total / count + others,
            "accuracy": ((logits.argmax(1) == labels).sum() / count).detach(),
        }


class ReconstructionDecoder(nn.Module):
    """Light decoder of masked autoencoding (arXiv:2111.06377): places without a token get a learned one."""

    def __init__(
        self, positions_TD: Tensor, block: nn.Module, *, width_in: int, width_out: int, has_mask_token: bool
    ) -> None:
        super().__init__()
        places, width = positions_TD.shape
        self.places = places
        self.register_buffer("positions_TD", positions_TD, persistent=False)
        self.enter = nn.Linear(width_in, width)
        self.block = block
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, width_out)
        self.mask_token_D = nn.Parameter(torch.randn(width) * 0.02) if has_mask_token else None

    def forward(self, tokens_NVD: Tensor, at_NV: Tensor | None, chosen: Tensor | None = None) -> Tensor:
        """Values `[N, T, width_out]` at all places.

        Args:
            tokens_NVD: tokens of the encoder, without class tokens.
            at_NV: the place of each token; None = all places in order.
            chosen: numbers of the places there are, where a source has fewer; `at_NV` counts among these.
        """
        positions: Tensor = self.positions_TD if chosen is None else self.positions_TD[chosen]  # type: ignore[assignment,index]
        tokens = self.enter(tokens_NVD)
        if self.mask_token_D is not None:
            empty = self.mask_token_D.to(tokens).expand(len(tokens), len(positions), -1)
            if at_NV is None:
                tokens = tokens + 0 * empty  # it must have a gradient at every step
            else:
                tokens = empty.scatter(1, at_NV[..., None].expand_as(tokens), tokens)
        values: Tensor = self.leave(self.norm(self.block(tokens + positions)))
        return values


def _ends(present_K: Tensor) -> tuple[int, int]:
    places = torch.nonzero(present_K).flatten()
    return int(places[0]), int(places[-1]) + 1


def unused(modules: Iterable[nn.Module], source: int) -> Tensor | float:
    """0 with a gradient of 0 for the parameters of all modules but one: DDP waits for every parameter at every step."""
    total: Tensor | float = 0.0
    for number, module in enumerate(modules):
        if number != source:
            for parameter in module.parameters():
                total = total + 0.0 * parameter.sum()
    return total
