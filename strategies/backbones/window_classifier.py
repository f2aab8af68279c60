"""A classifier of windows as a model of images that regimes can be applied to."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from strategies.adaptation import AdaptableModel
from strategies.heads import LinearHead, pad_reflected


class CentreHead(LinearHead):
    """A linear classifier that leaves the size as it is: one window has one answer."""

    def forward(self, features_BFHW: Tensor, size_px: tuple[int, int]) -> Tensor:  # noqa: ARG002
        """Logits `[B, K, H, W]` of features of the same height and width."""
        logits: Tensor = self.classify(self.dropout(features_BFHW))
        return logits


class PrototypeHead(CentreHead):
    """Logits are the cosines between features and a learned prototype of each class, times a learned factor.

    With a few labels a class the lengths of features say little; angles leave fewer ways to fit them by heart.
    """

    FACTOR = 10.0

    def __init__(self, in_channels: int, num_classes: int, *, dropout: float = 0.0) -> None:
        super().__init__(in_channels, num_classes, dropout=dropout)
        self.classify.register_parameter("bias", None)
        self.log_factor = nn.Parameter(torch.tensor(math.log(self.FACTOR)))

    def forward(self, features_BFHW: Tensor, size_px: tuple[int, int]) -> Tensor:  # noqa: ARG002
        """Logits `[B, K, H, W]` of features of the same height and width."""
        features = functional.normalize(self.dropout(features_BFHW), dim=1)
        prototypes = functional.normalize(self.classify.weight, dim=1)
        return self.log_factor.exp() * functional.conv2d(features, prototypes)


HEADS = {"linear": CentreHead, "prototype": PrototypeHead}


class WindowClassifier(AdaptableModel):
    """Stem (common bands of each pixel), backbone (windows `[N, C0, p, p]` to features `[N, F]`) and linear head.

    In training, windows of p x p pixels give logits `[B, K, 1, 1]` of their centres. Anything else is an image, of
    which every pixel is classified from its window, with reflected pixels beyond the edge.
    """

    def __init__(
        self, *, stem: nn.Module, backbone: nn.Module, head: nn.Module, window_px: int, windows_at_once: int = 64
    ) -> None:
        super().__init__(stem=stem, backbone=backbone, head=head)
        self.window_px, self.windows_at_once = window_px, windows_at_once

    def window_features(self, x_NCpp: Tensor) -> Tensor:
        """Features `[N, F]` of windows."""
        features: Tensor = self.backbone(self.stem(x_NCpp))
        return features

    def classify(self, x_NCpp: Tensor) -> Tensor:
        """Logits `[N, K]` of the centres of windows."""
        parts = torch.split(x_NCpp, self._at_once(x_NCpp))
        return torch.cat([self.classify_features(self.window_features(part)) for part in parts])

    def classify_features(self, features_NF: Tensor) -> Tensor:
        """Logits `[N, K]` of features."""
        logits: Tensor = self.head(features_NF[:, :, None, None], (1, 1))
        return logits[:, :, 0, 0]

    def features(self, x_BCHW: Tensor) -> Tensor:
        """Features `[B, F, 1, 1]` of windows in training, `[B, F, H, W]` of images."""
        # the model's own mode: a frozen backbone is in evaluation mode all the time
        if self.training and x_BCHW.shape[-2:] == (self.window_px, self.window_px):
            return self.window_features(x_BCHW)[:, :, None, None]
        batch, _, height, width = x_BCHW.shape
        # the stem looks at single pixels: once an image, not once a window
        padded = pad_reflected(self.stem(x_BCHW), self.window_px // 2)
        windows = padded.unfold(2, self.window_px, 1).unfold(3, self.window_px, 1).permute(0, 2, 3, 1, 4, 5)
        at_once = self._at_once(x_BCHW)
        # views up to the backbone: the windows of a whole image would take p * p times its memory
        parts = [
            self.backbone(part)
            for image_HWKpp in windows
            for rows_RWKpp in torch.split(image_HWKpp, max(1, at_once // width))
            for part in torch.split(rows_RWKpp.flatten(0, 1), at_once)
        ]
        return torch.cat(parts).view(batch, height, width, -1).permute(0, 3, 1, 2)

    def _at_once(self, x_BCHW: Tensor) -> int:
        """Windows in one pass: few enough to stay in a CPU's cache; an accelerator wants more."""
        return self.windows_at_once * (1 if x_BCHW.device.type == "cpu" else 16)
