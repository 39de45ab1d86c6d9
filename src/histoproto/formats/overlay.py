"""A mask drawn over its image, for eyes: tinted classes with crisp borders, a legend with areas and a scale bar."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw

from histoproto.atomic import replacing
from histoproto.formats.areas import Area
from histoproto.formats.legend import Entry, class_entries, font, scale_bar, with_legend
from histoproto.taxonomy import IGNORE, Colour, Taxonomy

LONGEST_PX = 2048
"""Larger images are shrunk to this."""
SHORTEST_PX = 512
"""Smaller images are enlarged by a whole factor until their shorter side has at least this."""
TINT = 0.28
"""How much of a class's colour lies over the tissue, 0..1; little, so that nuclei stay readable."""
UNDECIDED_COLOUR: Colour = (128, 128, 128)
"""Tint of pixels that the mask leaves out (255)."""
OUTLINE_COLOUR: Colour = (0, 0, 0)
CASING_COLOUR: Colour = (255, 255, 255)
"""Of what was asked for, with its name."""
Outlines: TypeAlias = Mapping[str, Sequence[Float[np.ndarray, "points 2"]]]
"""Closed rings of x, y in pixels of the image, at least one for each name."""


def write_overlay(
    path: Path,
    rgb: UInt8[np.ndarray, "height width 3"],
    mask: UInt8[np.ndarray, "mask_height mask_width"],
    taxonomy: Taxonomy,
    areas: Mapping[str, Area],
    width_um: float | None,
    outlines: Outlines = MappingProxyType({}),
) -> None:
    """Write an overlay PNG, atomically; arguments as ``draw_overlay``."""
    picture = draw_overlay(rgb, mask, taxonomy, areas, width_um, outlines)
    with replacing(path) as temporary:
        picture.save(temporary, format="PNG")


def draw_overlay(
    rgb: UInt8[np.ndarray, "height width 3"],
    mask: UInt8[np.ndarray, "mask_height mask_width"],
    taxonomy: Taxonomy,
    areas: Mapping[str, Area],
    width_um: float | None,
    outlines: Outlines = MappingProxyType({}),
) -> Image.Image:
    """Return the image with its mask, and below it a legend and a scale bar; background stays as it is.

    Borders are drawn where two classes meet. Where a class ends at background, as at every cleft, the tissue shows it.

    Args:
        rgb: the image, or a thumbnail of a slide.
        mask: class indices, the taxonomy's background value, or 255; of the same field, in any resolution.
        taxonomy: names and colours.
        areas: of the classes, counted at full resolution; see ``class_areas``.
        width_um: width of the field in microns, None where unknown: then there is no scale bar.
        outlines: of what was asked for, drawn in black with their names.
    """
    size = _picture_size(rgb.shape[1], rgb.shape[0])
    tissue = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS))
    indices = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    table = _colour_table(taxonomy)
    painted = (indices < len(taxonomy)) | (indices == IGNORE)
    tinted = np.rint((1 - TINT) * tissue + TINT * table[indices]).astype(np.uint8)
    picture = np.where(painted[..., None], tinted, tissue)
    borders = _borders(indices, len(taxonomy), width_px=max(1, round(max(size) / 1000)))
    picture[borders] = table[indices[borders]]
    entries = class_entries(areas, taxonomy)
    if (mask == IGNORE).any():
        entries.append(Entry("undecided", UNDECIDED_COLOUR))
    bar = None if width_um is None else scale_bar(size[0], width_um)
    return with_legend(_with_outlines(picture, outlines, size[0] / rgb.shape[1]), entries, bar)


def _with_outlines(picture: UInt8[np.ndarray, "height width 3"], outlines: Outlines, factor: float) -> Image.Image:
    image = Image.fromarray(picture)
    pen, width_px = ImageDraw.Draw(image), max(2, round(max(image.size) / 600))
    lines = [[(x * factor, y * factor) for x, y in ring.tolist()] for rings in outlines.values() for ring in rings]
    for colour, width in ((CASING_COLOUR, 2 * width_px + 1), (OUTLINE_COLOUR, width_px)):
        for line in lines:
            pen.line(line, colour, width, joint="curve")
    text_px = max(14, round(max(image.size) / 60))
    for name, rings in outlines.items():
        left, top = min((ring * factor).min(0).tolist() for ring in rings)
        place = (
            min(max(left, 0), image.width - text_px) + width_px,
            min(max(top, 0), image.height - text_px) + width_px,
        )
        pen.text(place, name, OUTLINE_COLOUR, font(text_px), stroke_width=width_px, stroke_fill=CASING_COLOUR)
    return image


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


def _borders(
    indices: UInt8[np.ndarray, "height width"], classes: int, width_px: int
) -> Bool[np.ndarray, "height width"]:
    """Return pixels of a class with another class within ``width_px`` to the left, right, above or below."""
    border = np.zeros(indices.shape, bool)
    for distance in range(1, width_px + 1):
        for one, other in (
            (np.s_[:, distance:], np.s_[:, :-distance]),
            (np.s_[distance:], np.s_[:-distance]),
        ):
            meet = (indices[one] != indices[other]) & (np.maximum(indices[one], indices[other]) < classes)
            border[one] |= meet
            border[other] |= meet
    return border
