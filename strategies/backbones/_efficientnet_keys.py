"""Names of EfficientNet-lite0's weights: the published file's (lukemelas) and timm's, as plain data."""

from __future__ import annotations

BLOCKS_PER_STAGE = (1, 2, 2, 3, 3, 4, 1)
"""Lite models keep the number of blocks of EfficientNet-B0."""
_SEPARABLE = (("_depthwise_conv", "conv_dw"), ("_bn1", "bn1"), ("_project_conv", "conv_pw"), ("_bn2", "bn2"))
_INVERTED = (
    ("_expand_conv", "conv_pw"),
    ("_bn0", "bn1"),
    ("_depthwise_conv", "conv_dw"),
    ("_bn1", "bn2"),
    ("_project_conv", "conv_pwl"),
    ("_bn2", "bn3"),
)


def lite0_key_prefixes() -> tuple[tuple[str, str], ...]:
    """Pairs of prefixes (file, timm): the file counts its 16 blocks through, timm by stage."""
    pairs = [("_conv_stem", "conv_stem"), ("_bn0", "bn1")]
    number = 0
    for stage, blocks in enumerate(BLOCKS_PER_STAGE):
        for block in range(blocks):
            layers = _SEPARABLE if stage == 0 else _INVERTED
            pairs += [(f"_blocks.{number}.{ours}", f"blocks.{stage}.{block}.{timms}") for ours, timms in layers]
            number += 1
    pairs += [("_conv_head", "conv_head"), ("_bn1", "bn2")]
    return tuple(pairs)
