"""Pictures of prototypes: patches with the spot marked, activation as a glow, and a sheet per prototype."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from histoproto.images import read_rgb
from histoproto.reports.drawings import STYLE
from histoproto.reports.pictures import glowing
from histoproto.taxonomy import Colour

SIDE_PX = 176
"""Longest side of a picture."""
LEAST_MARK = 1 / 9
"""Least side of a mark as a share of the picture's, so that it can be seen."""
GAP_PX, HEAD_PX, LINE_PX = 8, 44, 30
INK: Colour = (30, 30, 30)
MOST_NUMBERS = 16
"""Larger matrices are drawn without numbers."""
DOTS_PER_INCH = 160


def photograph(path: Path) -> Image.Image:
    """Return a patch, scaled to the pictures' side.

    Raises:
        DataError: if it cannot be read.
    """
    image = Image.fromarray(read_rgb(path))
    factor = SIDE_PX / max(image.size)
    return image.resize(
        (max(1, round(image.width * factor)), max(1, round(image.height * factor))), Image.Resampling.LANCZOS
    )


def marked(image: Image.Image, spot: Sequence[float]) -> Image.Image:
    """Return the picture with a frame around a spot.

    Args:
        image: RGB.
        spot: left, top, right, bottom as shares of width and height.
    """
    left, right = _widened(spot[0], spot[2], image.width)
    top, bottom = _widened(spot[1], spot[3], image.height)
    copy = image.copy()
    pen = ImageDraw.Draw(copy)
    pen.rectangle((left - 3, top - 3, right + 3, bottom + 3), outline="black")
    pen.rectangle((left - 2, top - 2, right + 2, bottom + 2), outline="white", width=2)
    pen.rectangle((left, top, right, bottom), outline="black")
    return copy


def heat(image: Image.Image, activation: NDArray[np.floating], low: float, high: float) -> Image.Image:
    """Return the picture under the glow of an activation map.

    Args:
        image: RGB.
        activation: of any height and width.
        low: activation without glow.
        high: activation with the brightest glow.
    """
    smooth = Image.fromarray(activation.astype(np.float32)).resize(image.size, Image.Resampling.BILINEAR)
    return glowing(image, (np.asarray(smooth) - low) / max(high - low, 1e-6))


def sheet(title: str, colour: Colour, rows: Sequence[tuple[str, Sequence[Image.Image]]]) -> Image.Image:
    """Return one prototype's pictures in rows under headings.

    Args:
        title: of the prototype.
        colour: of its class; shown as a bar on the left.
        rows: heading and pictures, of any height.
    """
    across = max(4, *(len(pictures) for _, pictures in rows))
    heights = [LINE_PX + GAP_PX + max((picture.height for picture in pictures), default=0) for _, pictures in rows]
    size = (3 * GAP_PX + across * (SIDE_PX + GAP_PX), HEAD_PX + sum(heights) + GAP_PX)
    canvas = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(canvas)
    pen.text((3 * GAP_PX, HEAD_PX // 2), title, fill=INK, font=ImageFont.load_default(22), anchor="lm")
    top = HEAD_PX
    for (heading, pictures), height in zip(rows, heights, strict=True):
        pen.text((3 * GAP_PX, top + LINE_PX // 2), heading, fill=INK, font=ImageFont.load_default(15), anchor="lm")
        for place, picture in enumerate(pictures):
            canvas.paste(picture, (3 * GAP_PX + place * (SIDE_PX + GAP_PX), top + LINE_PX))
        top += height
    pen.rectangle((0, 0, GAP_PX, canvas.height), fill=colour)
    return canvas


def matrices(
    panels: Sequence[tuple[str, Sequence[Sequence[float]]]], names: Sequence[str], counts: Sequence[int]
) -> Figure:
    """Return matrices between prototypes side by side, with lines between classes.

    Args:
        panels: title and values in [-1, 1].
        names: of the prototypes.
        counts: prototypes of each class.
    """
    with mpl.rc_context(STYLE):
        side = max(3.2, 0.36 * len(names) + 1)
        figure = Figure(figsize=(side * len(panels), side), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for one, (title, values) in zip(axes, panels, strict=True):
            picture = _matrix(one, np.asarray(values), names, counts)
            one.set_title(title)
        figure.colorbar(picture, ax=list(axes), shrink=0.6)
        return figure


def _matrix(
    axes: Axes, values: NDArray[np.floating], names: Sequence[str], counts: Sequence[int]
) -> mpl.image.AxesImage:
    picture = axes.imshow(values, cmap="PuOr_r", vmin=-1, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    for border in np.cumsum(counts)[:-1] - 0.5:
        axes.axhline(border, color="black", linewidth=0.8)
        axes.axvline(border, color="black", linewidth=0.8)
    if len(names) <= MOST_NUMBERS:
        for row, column in np.ndindex(values.shape):
            colour = "white" if abs(values[row, column]) > 0.7 else "black"
            text = f"{values[row, column]:.2f}".replace("0.", ".")
            axes.text(column, row, text, ha="center", va="center", fontsize=6, color=colour)
    axes.tick_params(length=0)
    return picture


def _widened(low: float, high: float, side_px: int) -> tuple[int, int]:
    """Return the ends of a mark in pixels, wide enough to be seen and inside the picture."""
    half = max(high - low, LEAST_MARK) / 2
    middle = min(max((low + high) / 2, half), 1 - half)
    inside = min(3, side_px // 4)
    return max(round((middle - half) * side_px), inside), min(round((middle + half) * side_px), side_px - 1 - inside)
