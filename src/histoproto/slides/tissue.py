"""Where a slide shows tissue: what haematoxylin and eosin have stained, neither glass, nor dirt, nor ink."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from numpy.typing import NDArray

from histoproto.contracts import Region
from histoproto.slides.mpp import require_mpp
from histoproto.slides.pages import PagedReader
from histoproto.slides.resample import thumbnail

TISSUE_MPP = 8.0
"""Microns per pixel at which tissue is looked for: fine enough for the walls of fat cells to count as stained."""

STAINED = (0.03, 0.06)
"""Range of the threshold in optical density: clean glass has 0.00 to 0.02, ordinary tissue 0.15 to 0.4; pale stroma and
mucus must not be lost on a slide that is all tissue."""

SMOOTHED_UM = 4.0
"""Standard deviation of the smoothing before the threshold."""
SMALLEST_TISSUE_UM2 = 10_000.0
"""Smaller specks are no tissue; a disc of 113 microns."""
LARGEST_HOLE_UM2 = 10_000.0
"""Smaller holes count as tissue: small vessels, lumina of glands, fat cells; tears and cysts do not."""

INK_HUES = (70.0, 235.0)
"""Degrees, from green to blue; pure haematoxylin has 244."""
INK_SATURATION = 0.15
"""Least saturation of ink, 0..1; pale blue mucus stays below."""
INK_FRINGE = (255.0, 0.08)
"""Largest hue and least saturation of what still is ink where it touches ink: a stroke's dark edge and its halo."""
BLACK = (0.35, 0.1)
"""Largest value of black ink and largest difference of its channels, 0..1."""

GLASS = (0.75, 0.08)
"""Least value and largest saturation of glass, 0..1; scanners show it white, grey, rosy or bluish."""
UNSCANNED = 250
"""Least channel of what may never have been scanned and then says nothing about glass."""
LEAST_GLASS = 0.1
"""Share of a slide that has to look like glass before its colour is believed; pale mucus looks like it, too."""

_VECTORS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (1.0, 1.0, 1.0))
"""Optical densities of haematoxylin and eosin in red, green and blue (Ruifrok and Johnston, 2001), and of grey."""


class Tissue(NamedTuple):
    """Where a slide shows tissue, coarsely."""

    mask: Bool[np.ndarray, "height width"]
    cell_px: float
    """Pixels of the finest page per pixel of the mask, which begins at the slide's corner."""


def tissue_of(reader: PagedReader) -> Tissue:
    """Return where a slide shows tissue, in cells of ``TISSUE_MPP`` or of the finest page where that is coarser.

    Parts that cannot be decoded count as tissue, so that who reads it finer finds out how much of them is lost.

    Raises:
        DataError: if the slide does not say its microns per pixel.
    """
    mpp = require_mpp(reader)
    longest_px = max(reader.width_px, reader.height_px)
    small_px = max(1, math.ceil(longest_px * mpp / TISSUE_MPP))
    cell_px = max(1.0, longest_px / small_px)
    damaged: list[Region] = []
    mask = find_tissue(thumbnail(reader, small_px, damaged.append), mpp * cell_px)
    for part in damaged:
        mask[part.y_px : part.y_px + part.height_px, part.x_px : part.x_px + part.width_px] = True
    return Tissue(mask, cell_px)


def find_tissue(rgb: UInt8[np.ndarray, "height width 3"], mpp: float) -> Bool[np.ndarray, "height width"]:
    """Return where a thumbnail shows stained tissue; nowhere on an empty slide.

    Colours are split into haematoxylin, eosin and grey (Ruifrok and Johnston's colour deconvolution with grey as its
    third stain), relative to the slide's own glass, so that shadows, dust and a tinted ground have no stain. Tissue is
    where the sum of both stains, smoothed, exceeds Otsu's threshold of its logarithm, kept within ``STAINED``: without
    tissue Otsu would split the noise of glass, and without glass pale tissue from dark. Specks are then removed and
    small holes filled.

    Args:
        rgb: the whole slide, or a part of it.
        mpp: microns per pixel of the thumbnail, best about ``TISSUE_MPP``.
    """
    from scipy.ndimage import gaussian_filter

    stain = gaussian_filter(
        np.where(is_ink(rgb), np.float32(0), _stain_density(rgb)), SMOOTHED_UM / mpp, mode="nearest"
    )
    stained = stain > _threshold(stain)
    tissue = _without_specks(stained, SMALLEST_TISSUE_UM2 / mpp**2)
    return ~_without_specks(~tissue, LARGEST_HOLE_UM2 / mpp**2)


def is_ink(rgb: UInt8[np.ndarray, "height width 3"]) -> Bool[np.ndarray, "height width"]:
    """Return where green, blue or black pens have drawn, and where surgeons' ink lies on a margin.

    Ink has a hue in ``INK_HUES`` and at least ``INK_SATURATION``, or is ``BLACK``; what touches it may be somewhat
    more violet or paler (``INK_FRINGE``). Violet and red pens have the stains' own colours and are not found.
    """
    from scipy.ndimage import binary_propagation
    from skimage.color import rgb2hsv

    largest = rgb.max(-1)
    spread = largest - rgb.min(-1)
    saturation = spread / np.maximum(largest, 1).astype(np.float32)
    cool = rgb[..., 0] < largest  # hues from 60 to 300 degrees
    hue = np.zeros(largest.shape, np.float32)
    hue[cool] = 360 * rgb2hsv(rgb[cool] / np.float32(255))[:, 0]
    coloured = (hue >= INK_HUES[0]) & (hue <= INK_HUES[1]) & (saturation >= INK_SATURATION)
    black = (largest <= 255 * BLACK[0]) & (spread <= 255 * BLACK[1])
    fringe = (hue >= INK_HUES[0]) & (hue <= INK_FRINGE[0]) & (saturation >= INK_FRINGE[1])
    core = coloured | black
    return np.asarray(binary_propagation(core, mask=core | fringe), bool)


def _stain_density(rgb: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "height width"]:
    """Return the sum of haematoxylin and eosin as optical densities relative to glass, 0 or more."""
    vectors = np.array(_VECTORS)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    density = np.log10(_glass_colour(rgb)) - np.log10(np.maximum(rgb, 1), dtype=np.float32)
    density = np.maximum(density, 0, out=density)  # whatever is brighter than glass
    return np.asarray((density @ np.linalg.inv(vectors)[:, :2].astype(np.float32)).clip(min=0).sum(-1))


def _glass_colour(rgb: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, " 3"]:
    """Return the median colour of what looks like glass; white where hardly anything does."""
    largest, smallest = rgb.max(-1), rgb.min(-1)
    bright = (largest >= 255 * GLASS[0]) & (smallest < UNSCANNED)
    glass = bright & (largest - smallest <= largest * np.float32(GLASS[1]))
    if glass.mean() < LEAST_GLASS:
        return np.full(3, 255, np.float32)
    return np.asarray(np.median(rgb[glass], axis=0), np.float32)


def _threshold(stain: Float32[np.ndarray, "height width"]) -> float:
    """Return Otsu's threshold of log density, within ``STAINED``: halfway, in decades, between glass and tissue."""
    from skimage.filters import threshold_otsu

    otsu: Callable[[NDArray[np.float32]], float] = threshold_otsu
    decades = np.log10(stain.clip(min=STAINED[0] / 10))
    return float(np.clip(10 ** otsu(decades), *STAINED))


def _without_specks(mask: Bool[np.ndarray, "height width"], least_px: float) -> Bool[np.ndarray, "height width"]:
    """Return a mask without its connected pieces (over edges) of less than ``least_px`` pixels."""
    from scipy.ndimage import label

    pieces = np.asarray(label(mask)[0])
    large = np.bincount(pieces.ravel()) >= least_px
    large[0] = False
    return np.asarray(large[pieces])
