"""The contact sheet of the documentation: each tissue and mixtures, in several patients."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from histoproto.data.phantom.tissue import Tissue, render_tissue
from histoproto.taxonomy import BCSS_WSSS

_TILE_PX = 180
_GAP_PX = 4
_CAPTION_PX = 22
_PATIENTS = 6


def contact_sheet(seed: int) -> Image.Image:
    """Draw a row for each tissue, one for mixtures and one for their masks; every column is another patient.

    Args:
        seed: Seed of the first patient; the columns use successive seeds.

    Returns:
        An RGB picture of about 1100 x 1200 pixels.
    """
    rows: list[tuple[str, list[Image.Image]]] = [
        (title, [Image.fromarray(_tile(seed + column, (area,)).image) for column in range(_PATIENTS)])
        for area, title in enumerate(BCSS_WSSS.titles)
    ]
    mixtures = [_tile(seed + column, None) for column in range(_PATIENTS)]
    rows.append(("All tissues", [Image.fromarray(tissue.image) for tissue in mixtures]))
    colours = np.array([*BCSS_WSSS.colours, BCSS_WSSS.background_colour], dtype=np.uint8)
    rows.append(("Their exact masks", [Image.fromarray(colours[tissue.mask]) for tissue in mixtures]))
    step = _TILE_PX + _GAP_PX
    sheet = Image.new("RGB", (_PATIENTS * step + _GAP_PX, len(rows) * (step + _CAPTION_PX) + _GAP_PX), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=15)
    for row, (title, tiles) in enumerate(rows):
        top = row * (step + _CAPTION_PX) + _GAP_PX
        pen.text((_GAP_PX, top), title, fill="black", font=font)
        for column, tile in enumerate(tiles):
            sheet.paste(tile, (column * step + _GAP_PX, top + _CAPTION_PX))
    return sheet


def _tile(seed: int, present: tuple[int, ...] | None) -> Tissue:
    return render_tissue(_TILE_PX, _TILE_PX, seed, present=present)
