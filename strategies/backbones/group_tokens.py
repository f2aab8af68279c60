"""Tokens of groups of neighbouring bands over a whole window (as in SpectralFormer, doi:10.1109/TGRS.2021.3130716)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from strategies.backbones.window_attention import sine_positions


class GroupEmbedding(nn.Module):
    """Maps windows of common bands `[N, C0, p, p]` to a class token and a token a group, `[N, 1 + S, D]`."""

    def __init__(self, common_bands: int, group_bands: int, pixels: int, width: int) -> None:
        super().__init__()
        num_groups = common_bands // group_bands
        self.group_bands, self.num_groups = group_bands, num_groups
        self.embed = nn.Linear(group_bands * pixels, width)
        self.class_D = nn.Parameter(torch.randn(width) * 0.02)
        self.register_buffer("positions_GD", sine_positions(num_groups, width), persistent=False)
        # groups of bands that the data set has, a fact of the data set: kept out of the state dict
        self.register_buffer("groups", torch.arange(num_groups), persistent=False)

    def values(self, common_NKpp: Tensor, groups: Tensor | None = None, hidden_NP: Tensor | None = None) -> Tensor:
        """What the tokens are made of, `[N, S, g * P]`: hidden pixels are 0."""
        values_NGgP = common_NKpp.reshape(len(common_NKpp), self.num_groups, self.group_bands, -1)
        chosen: Tensor = self.groups if groups is None else groups  # type: ignore[assignment]
        if len(chosen) < self.num_groups:
            values_NGgP = values_NGgP.index_select(1, chosen)
        if hidden_NP is not None:
            values_NGgP = values_NGgP * ~hidden_NP[:, None, None]
        return values_NGgP.flatten(2)

    def forward(
        self,
        common_NKpp: Tensor,
        hidden_NP: Tensor | None = None,
        *,
        groups: Tensor | None = None,
        kept_NS: Tensor | None = None,
    ) -> Tensor:
        """Tokens, the class token first.

        Args:
            common_NKpp: windows of common bands.
            hidden_NP: True for pixels that must not be seen.
            groups: numbers of the groups that the data set has; None = those this module was set to.
            kept_NS: places among these groups that are shown; None = all.
        """
        chosen: Tensor = self.groups if groups is None else groups  # type: ignore[assignment]
        values = self.values(common_NKpp, chosen, hidden_NP)
        positions: Tensor = self.positions_GD[chosen]  # type: ignore[index]
        if kept_NS is not None:
            values = values.gather(1, kept_NS[..., None].expand(-1, -1, values.shape[-1]))
            positions = positions[kept_NS]
        return after_class(self.class_D, self.embed(values) + positions)


def after_class(class_D: Tensor, tokens_NTD: Tensor) -> Tensor:
    """The tokens `[N, 1 + T, D]` behind a class token."""
    return torch.cat([class_D.to(tokens_NTD).expand(len(tokens_NTD), 1, -1), tokens_NTD], dim=1)


def draw_kept_groups(count: int, groups: int, ratio: float, device: torch.device) -> Tensor | None:
    """Places `[N, kept]`, ascending, of the groups that each window keeps; None where all are kept.

    int(ratio x groups) are hidden, drawn from torch's generator; at least one is kept.
    """
    kept = max(1, groups - int(ratio * groups))
    if kept == groups:
        return None
    return torch.rand(count, groups, device=device).argsort(dim=1)[:, :kept].sort(dim=1).values
