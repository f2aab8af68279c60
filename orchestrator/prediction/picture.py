"""Class colours, and a picture of a label map with its legend."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

NO_DATA_COLOUR = (255, 255, 255)
LARGEST_SIDE_PX = 1600
SMALLEST_SIDE_PX = 480
MARGIN_PX, LINE_PX, FONT_PX = 16, 24, 15
GOLDEN = 0.6180339887498949
TONES = ((0.75, 0.85), (0.45, 0.65), (0.95, 0.55))
"""Saturation and value, in turn: neighbours in hue differ in tone as well."""

Colour = tuple[int, int, int]


def class_colours(count: int, given: Sequence[str] = ()) -> list[Colour]:
    """A colour a class: those given ("#rrggbb"), or by index; none of the latter is the colour of no data."""
    if given:
        return [(int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)) for text in given]
    colours = []
    for index in range(count):
        saturation, value = TONES[index % len(TONES)]
        red, green, blue = colorsys.hsv_to_rgb((0.58 + index * GOLDEN) % 1, saturation, value)
        colours.append((round(red * 255), round(green * 255), round(blue * 255)))
    return colours


def draw_picture(
    file: Path,
    index_HW: NDArray[np.integer],
    names: Sequence[str],
    shares: Sequence[float],
    no_data_share: float,
    colours: Sequence[Colour],
) -> None:
    """Write a PNG: the map, and a legend of the classes that occur with their share of the pixels that hold data.

    Args:
        file: where it goes.
        index_HW: class indices, -1 without data.
        names: of the classes.
        shares: of the classes, 0..1.
        no_data_share: share of all pixels without data.
        colours: of the classes.
    """
    from PIL import Image, ImageDraw, ImageFont

    step = max(1, -(-max(index_HW.shape) // LARGEST_SIDE_PX))
    palette = np.array([*colours, NO_DATA_COLOUR], dtype=np.uint8)  # the last one serves the index -1
    image = Image.fromarray(palette[index_HW[::step, ::step]])
    enlarged = max(1, SMALLEST_SIDE_PX // max(image.size))
    image = image.resize((image.width * enlarged, image.height * enlarged), Image.Resampling.NEAREST)

    entries = [
        (colour, f"{name}  {share:.1%}")
        for colour, name, share in zip(colours, names, shares, strict=True)
        if share > 0
    ]
    if no_data_share > 0:
        entries.append((NO_DATA_COLOUR, f"no data  {no_data_share:.1%} of all"))
    font = ImageFont.load_default(size=FONT_PX)
    text_px = max((int(font.getlength(text)) for _, text in entries), default=0)
    width = image.width + LINE_PX + text_px + 3 * MARGIN_PX
    height = max(image.height, LINE_PX * len(entries)) + 2 * MARGIN_PX
    page = Image.new("RGB", (width, height), "white")
    page.paste(image, (MARGIN_PX, MARGIN_PX))
    draw = ImageDraw.Draw(page)
    frame = (MARGIN_PX - 1, MARGIN_PX - 1, MARGIN_PX + image.width, MARGIN_PX + image.height)
    draw.rectangle(frame, outline=(120, 120, 120))
    left = image.width + 2 * MARGIN_PX
    for line, (colour, text) in enumerate(entries):
        top = MARGIN_PX + line * LINE_PX
        draw.rectangle((left, top + 2, left + 16, top + 18), fill=colour, outline=(120, 120, 120))
        draw.text((left + LINE_PX, top), text, fill="black", font=font)
    page.save(file)
