"""A mask drawn over its image, for eyes: tinted classes with crisp outlines and a legend."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageDraw, ImageFont

from histoproto.atomic import replacing
from histoproto.taxonomy import IGNORE, Colour, Taxonomy

LONGEST_PX = 2048
"""Larger images are shrunk to this."""
SHORTEST_PX = 512
"""Smaller images are enlarged by a whole factor until their shorter side has at least this."""
TINT = 0.28
"""How much of a class's colour lies over the tissue, 0..1; little, so that nuclei stay readable."""
UNDECIDED_COLOUR: Colour = (128, 128, 128)
"""Tint of pixels that the mask leaves out (255)."""


class _Entry(NamedTuple):
    text: str
    colour: Colour


def write_overlay(
    path: Path,
    rgb: UInt8[np.ndarray, "height width 3"],
    mask: UInt8[np.ndarray, "mask_height mask_width"],
    taxonomy: Taxonomy,
) -> None:
    """Write an overlay PNG, atomically; arguments as ``draw_overlay``."""
    picture = draw_overlay(rgb, mask, taxonomy)
    with replacing(path) as temporary:
        picture.save(temporary, format="PNG")


def draw_overlay(
    rgb: UInt8[np.ndarray, "height width 3"],
    mask: UInt8[np.ndarray, "mask_height mask_width"],
    taxonomy: Taxonomy,
) -> Image.Image:
    """Return the image with its mask and a legend below; background stays as it is.

    Args:
        rgb: the image, or a thumbnail of a slide.
        mask: class indices, the taxonomy's background value, or 255; of the same field, in any resolution.
        taxonomy: names and colours.
    """
    size = _picture_size(rgb.shape[1], rgb.shape[0])
    tissue = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS))
    indices = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    table = _colour_table(taxonomy)
    painted = (indices < len(taxonomy)) | (indices == IGNORE)
    tinted = np.rint((1 - TINT) * tissue + TINT * table[indices]).astype(np.uint8)
    picture = np.where(painted[..., None], tinted, tissue)
    outlines = _inner_borders(indices, width_px=max(2, round(max(size) / 700))) & (indices < len(taxonomy))
    picture[outlines] = table[indices[outlines]]
    return _with_legend(Image.fromarray(picture), _legend(mask, taxonomy))


def _picture_size(width_px: int, height_px: int) -> tuple[int, int]:
    shortest, longest = min(width_px, height_px), max(width_px, height_px)
    if longest > LONGEST_PX:
        shrunk = LONGEST_PX / longest
        return max(1, round(width_px * shrunk)), max(1, round(height_px * shrunk))
    factor = max(1, min(-(-SHORTEST_PX // shortest), LONGEST_PX // longest))
    return width_px * factor, height_px * factor


def _colour_table(taxonomy: Taxonomy) -> UInt8[np.ndarray, "256 3"]:
    table = np.zeros((256, 3), np.uint8)
    table[: len(taxonomy)] = taxonomy.colours
    table[IGNORE] = UNDECIDED_COLOUR
    return table


def _inner_borders(indices: UInt8[np.ndarray, "height width"], width_px: int) -> Bool[np.ndarray, "height width"]:
    """Return pixels with another value within ``width_px`` to the left, right, above or below."""
    border = np.zeros(indices.shape, bool)
    for distance in range(1, width_px + 1):
        across = indices[:, distance:] != indices[:, :-distance]
        down = indices[distance:] != indices[:-distance]
        border[:, distance:] |= across
        border[:, :-distance] |= across
        border[distance:] |= down
        border[:-distance] |= down
    return border


def _legend(mask: UInt8[np.ndarray, "height width"], taxonomy: Taxonomy) -> list[_Entry]:
    counts = np.bincount(mask.ravel(), minlength=256)
    tissue = max(1, counts[: len(taxonomy)].sum())
    entries = [
        _Entry(f"{title}  {'< 1%' if 0 < count / tissue < 0.005 else f'{count / tissue:.0%}'}", colour)
        for title, colour, count in zip(taxonomy.titles, taxonomy.colours, counts, strict=False)
    ]
    return entries + ([_Entry("undecided", UNDECIDED_COLOUR)] if counts[IGNORE] else [])


def _with_legend(picture: Image.Image, entries: list[_Entry]) -> Image.Image:
    text_px = int(np.clip(max(picture.size) / 55, 14, 30))
    font = ImageFont.load_default(text_px)
    pad, swatch = text_px // 2, text_px
    widths = [swatch + pad + round(font.getlength(entry.text)) for entry in entries]
    places, x, line = [], pad, 0
    for width in widths:
        if x > pad and x + width + pad > picture.width:
            x, line = pad, line + 1
        places.append((x, picture.height + pad + line * (text_px + pad)))
        x += width + 3 * pad
    sheet_width = max(picture.width, max(widths) + 2 * pad)
    sheet = Image.new("RGB", (sheet_width, picture.height + pad + (line + 1) * (text_px + pad)), "white")
    sheet.paste(picture)
    draw = ImageDraw.Draw(sheet)
    for (left, top), entry in zip(places, entries, strict=True):
        draw.rectangle((left, top, left + swatch - 1, top + swatch - 1), fill=entry.colour, outline=(60, 60, 60))
        middle = (left + swatch + pad, top + swatch // 2)
        draw.text(middle, entry.text, fill=(20, 20, 20), font=font, anchor="lm")
    return sheet
