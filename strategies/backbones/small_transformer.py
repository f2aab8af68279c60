"""The small encoder of transformers for hyperspectral windows: pre-norm blocks of attention and a narrow MLP."""

from __future__ import annotations

from torch import Tensor, nn

from strategies.backbones.window_attention import attend


class Block(nn.Module):
    """Tokens `[N, T, width]` to tokens: attention, then an MLP, each on normalised tokens and added to its input."""

    def __init__(self, width: int, *, heads: int, mlp_width: int, dropout: float, bias: bool) -> None:
        """Make a block; `bias` is that of queries, keys and values."""
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width, bias=bias)
        self.project = nn.Sequential(nn.Linear(width, width), nn.Dropout(dropout))
        self.mlp = nn.Sequential(
            nn.Linear(width, mlp_width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(mlp_width, width),
            nn.Dropout(dropout),
        )

    def forward(self, tokens_NTD: Tensor) -> Tensor:
        """Tokens of the same shape."""
        width = tokens_NTD.shape[-1]
        query, key_value = self.query_key_value(self.attention_norm(tokens_NTD)).split([width, 2 * width], dim=-1)
        attended = tokens_NTD + self.project(attend(query, key_value, self.heads))
        result: Tensor = attended + self.mlp(self.mlp_norm(attended))
        return result
