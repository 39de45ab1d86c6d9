"""Contact sheets: what stands for each sub-class, for a pathologist's eye."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from histoproto.images import read_rgb
from histoproto.taxonomy import Colour

ACROSS = 8
"""Most patches in a row."""
NARROWEST = 4
"""A sheet has room for so many, so that captions fit."""
ROWS = 2
"""Rows of patches per sub-class."""
SIDE_PX = 160
"""Side of a patch on the sheet."""
GAP_PX = 6
HEAD_PX = 40
INK: Colour = (30, 30, 30)


class Strip(NamedTuple):
    """One sub-class on a sheet."""

    caption: str
    patches: Sequence[Path]
    """Most typical first; the first 16 are shown."""


def draw_sheet(title: str, colour: Colour, strips: Sequence[Strip]) -> Image.Image:
    """Return one class's sheet: a title, then each sub-class with its most typical patches.

    Args:
        title: of the class.
        colour: of the class in masks; shown as a bar on the left.
        strips: sub-classes, the largest first.
    """
    across = min(ACROSS, max(NARROWEST, *(len(strip.patches) for strip in strips)))
    width = GAP_PX * 3 + across * (SIDE_PX + GAP_PX)
    heights = [_height(len(strip.patches)) for strip in strips]
    sheet = Image.new("RGB", (width, HEAD_PX + GAP_PX + sum(heights)), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((3 * GAP_PX, HEAD_PX // 2), title, fill=INK, font=ImageFont.load_default(26), anchor="lm")
    top = HEAD_PX
    for strip, height in zip(strips, heights, strict=True):
        _draw_strip(sheet, pen, strip, top)
        top += height
    pen.rectangle((0, 0, GAP_PX, sheet.height), fill=colour)
    return sheet


def _height(patches: int) -> int:
    rows = -(-min(patches, ACROSS * ROWS) // ACROSS)
    return HEAD_PX + rows * (SIDE_PX + GAP_PX)


def _draw_strip(sheet: Image.Image, pen: ImageDraw.ImageDraw, strip: Strip, top: int) -> None:
    pen.text((3 * GAP_PX, top + HEAD_PX // 2), strip.caption, fill=INK, font=ImageFont.load_default(18), anchor="lm")
    for place, path in enumerate(strip.patches[: ACROSS * ROWS]):
        row, column = divmod(place, ACROSS)
        patch = _fitted(Image.fromarray(read_rgb(path)))
        left = 3 * GAP_PX + column * (SIDE_PX + GAP_PX)
        sheet.paste(patch, (left, top + HEAD_PX + row * (SIDE_PX + GAP_PX)))


def _fitted(patch: Image.Image) -> Image.Image:
    """Return a patch that fills its place without changing its shape."""
    factor = SIDE_PX / max(patch.size)
    size = max(1, round(patch.width * factor)), max(1, round(patch.height * factor))
    return patch.resize(size, Image.Resampling.LANCZOS)
