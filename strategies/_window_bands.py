"""Bands and weights of window encoders: which grid they are on, the adapter of a data set, and loading them whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strategies._base import StrategyError

if TYPE_CHECKING:
    from torch import nn

    from strategies._window_fields import WindowFields


def shared_grid(strategy: WindowFields, wavelengths_nm: Sequence[Sequence[float] | None]) -> bool:
    """Whether the common bands are wavelengths, for data sets with these band centres.

    Raises:
        StrategyError: some of them are known and others are not, so that no grid fits all.
    """
    if strategy.adapter != "resample" or strategy.grid == "index":
        return False
    known = [centres is not None for centres in wavelengths_nm]
    if strategy.grid == "auto" and any(known) and not all(known):
        raise StrategyError(
            f"{sum(known)} of {len(known)} sources have wavelengths; allowed: all or none of them; set grid: index"
        )
    return strategy.grid == "wavelength" or all(known)


def adapter_of(
    strategy: WindowFields, num_bands: int, wavelengths_nm: Sequence[float] | None, *, on_wavelengths: bool
) -> Any:
    """The band adapter of a data set.

    Raises:
        StrategyError: see `band_adapters.make_adapter`.
    """
    from strategies.backbones.band_adapters import CommonGrid, make_adapter

    grid = CommonGrid(strategy.common_bands, strategy.group_bands, strategy.grid_low_nm, strategy.grid_high_nm)
    return make_adapter(strategy.adapter, grid, num_bands, wavelengths_nm, on_wavelengths=on_wavelengths)


def load_encoder(encoder: nn.Module, weights_path: str | None) -> None:
    """Fill an encoder with what its pretraining handed on; every key of both is used.

    Raises:
        StrategyError: no file, one that cannot be read, or one of another encoder.
    """
    import safetensors
    import safetensors.torch

    if weights_path is None:
        raise StrategyError(
            "init 'pretrained' needs weights_path, the file that the pretrain stage has written; "
            "run the stage, or set init: random"
        )
    if not Path(weights_path).is_file():
        raise StrategyError(f"pretrained encoder: {weights_path} is not a file; run the pretrain stage again")
    try:
        state = safetensors.torch.load_file(weights_path)
    except (safetensors.SafetensorError, OSError) as error:
        raise StrategyError(
            f"pretrained encoder: {weights_path} cannot be read ({error}); run the pretrain stage again"
        ) from error
    expected = encoder.state_dict()
    wrong = [
        key
        for key in sorted({*state, *expected})
        if key not in state or key not in expected or state[key].shape != expected[key].shape
    ]
    if wrong:
        raise StrategyError(
            f"pretrained encoder: {weights_path} does not fit, {len(wrong)} keys differ, for example {wrong[0]}; "
            "pretrain with the same fields"
        )
    encoder.load_state_dict(state)
