"""What stands below a picture of tissue: the classes with their areas, and a scale bar."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from histoproto.formats.areas import Area
from histoproto.taxonomy import Colour, Taxonomy

LONGEST_BAR = 0.2
"""Share of the picture's width that a scale bar may take."""
INK: Colour = (20, 20, 20)


class Entry(NamedTuple):
    """A colour and what it means."""

    text: str
    colour: Colour


class ScaleBar(NamedTuple):
    """A length of tissue, drawn."""

    text: str
    width_px: int


def class_entries(areas: Mapping[str, Area], taxonomy: Taxonomy) -> list[Entry]:
    """Return each class with its square millimetres, where they are known, and its share of the tissue.

    Args:
        areas: from ``class_areas``.
        taxonomy: names and colours.
    """
    return [
        Entry(f"{title}  {_amount(areas[name])}", colour)
        for name, title, colour in zip(taxonomy.classes, taxonomy.titles, taxonomy.colours, strict=True)
    ]


def _amount(area: Area) -> str:
    if not area["pixels"]:
        return "none"
    share = area["share"] or 0.0
    percent = "< 1%" if share < 0.005 else f"{share:.0%}"
    return percent if area["area_mm2"] is None else f"{_mm2(area['area_mm2'])} ({percent})"


def _mm2(area: float) -> str:
    if area < 0.001:
        return "< 0.001 mm²"
    return f"{area:.3g} mm²" if area < 1000 else f"{area:.0f} mm²"


def scale_bar(picture_px: int, picture_um: float) -> ScaleBar:
    """Return the longest bar of 1, 2 or 5 times a power of ten that ``LONGEST_BAR`` of a picture holds.

    Args:
        picture_px: width of the picture.
        picture_um: width of what it shows, in microns.
    """
    most = LONGEST_BAR * picture_um
    decade = 10.0 ** math.floor(math.log10(most))
    length = max(factor * decade for factor in (1, 2, 5) if factor * decade <= most)
    text = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} µm"
    return ScaleBar(text, round(picture_px * length / picture_um))


def with_legend(picture: Image.Image, entries: Sequence[Entry], bar: ScaleBar | None) -> Image.Image:
    """Return a picture with a strip below it: entries from the left, the bar at the right.

    Args:
        picture: RGB; it stays as it is, at the upper left.
        entries: in as many lines as they need.
        bar: None where the scale is unknown.
    """
    text_px = int(np.clip(max(picture.size) / 60, 14, 30))
    letters = font(text_px)
    pad = text_px // 2
    widths = [text_px + pad + math.ceil(letters.getlength(entry.text)) for entry in entries]
    bar_width = 0 if bar is None else math.ceil(letters.getlength(bar.text)) + pad + bar.width_px
    sheet_width = max(picture.width, max((*widths, bar_width)) + 2 * pad)
    places, x, line = [], pad, 0
    for width in widths:
        if x > pad and x + width + pad > sheet_width:
            x, line = pad, line + 1
        places.append((x, line))
        x += width + 2 * text_px
    if bar is not None and x + bar_width + pad > sheet_width:
        line += 1
    pitch = text_px + pad
    sheet = Image.new("RGB", (sheet_width, picture.height + pad + (line + 1) * pitch), "white")
    sheet.paste(picture)
    draw = ImageDraw.Draw(sheet)
    top = picture.height + pad
    for (left, row), entry in zip(places, entries, strict=True):
        middle = top + row * pitch + text_px // 2
        swatch = (left, middle - text_px // 2, left + text_px - 1, middle - text_px // 2 + text_px - 1)
        draw.rectangle(swatch, fill=entry.colour, outline=(60, 60, 60))
        draw.text((left + text_px + pad, middle), entry.text, fill=INK, font=letters, anchor="lm")
    if bar is not None:
        _draw_bar(draw, bar, sheet_width - pad, top + line * pitch + text_px // 2, text_px, letters)
    return sheet


def _draw_bar(
    draw: ImageDraw.ImageDraw, bar: ScaleBar, right: int, middle: int, text_px: int, letters: ImageFont.FreeTypeFont
) -> None:
    left = right - bar.width_px
    thick, tick = max(1, text_px // 10), text_px // 3
    draw.rectangle((left, middle - thick, right - 1, middle + thick - 1), fill=INK)
    for x in (left, right - 2 * thick):
        draw.rectangle((x, middle - tick, x + 2 * thick - 1, middle + tick - 1), fill=INK)
    draw.text((left - text_px // 2, middle), bar.text, fill=INK, font=letters, anchor="rm")


def font(size_px: int) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which comes with matplotlib: the font that comes with Pillow has neither µ nor ²."""
    import matplotlib as mpl

    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size_px)
