"""A 3-D convolutional network on windows, trained on the target data alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from strategies._base import check_bands
from strategies._window_network import WindowNetwork, in_order_of_wavelength

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class CNN3D(WindowNetwork):
    """Hamida et al., 3-D Deep Learning Approach for Remote Sensing Image Classification (IEEE TGRS 56(8), 2018).

    Own code from the paper. Published with windows of 5 pixels; here AdamW trains it, as all networks of a sweep, in
    place of stochastic gradient descent, and dropout before the classifier can be tuned (the paper has none).
    """

    dropout: float = 0.0
    """Share of features dropped before the classifier."""
    patch: int = 5
    """Side in pixels of the windows; a larger one wins on random splits by leakage alone."""

    summary: ClassVar[str] = "3-D convolutional network on windows (Hamida et al. 2018), from scratch"
    smallest_patch: ClassVar[int] = 3
    reference_step_s: ClassVar[float] = 0.15

    def build(
        self,
        *,
        num_bands: int,
        wavelengths_nm: Sequence[float] | None,
        num_classes: int,
        image_size: int,  # noqa: ARG002
        weights_path: str | None = None,  # noqa: ARG002
    ) -> nn.Module:
        """See `Strategy.build`."""
        from strategies.backbones.cnn3d import Cnn3d

        check_bands(self, num_bands, wavelengths_nm)
        backbone = Cnn3d(num_bands, self.patch)
        stem = in_order_of_wavelength(num_bands, wavelengths_nm)
        return self.classifier(stem, backbone, backbone.num_features, num_classes, dropout=self.dropout)


STRATEGY = CNN3D
