"""A slide at another physical resolution; the pyramid page is chosen here and nowhere else."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from histoproto.contracts import Region, SlideReader
from histoproto.slides.damage import OnDamage, read_around_damage
from histoproto.slides.mpp import require_mpp
from histoproto.slides.pages import PagedReader

SAME_MPP = 0.02
"""Resolutions that differ by less than this fraction count as one: a network does not notice, resampling blurs."""

_READ_AT_ONCE_PX = 16_000_000
"""Pixels of the finest page that a thumbnail may need at once where the slide has no coarse page."""

_BICUBIC_REACH = 2
"""Pixels of the coarser grid that a bicubic kernel reaches to either side."""


def at_mpp(reader: PagedReader, target_mpp: float) -> SlideReader:
    """Return a slide whose finest pixels measure ``target_mpp`` microns.

    A slide that already does, within 2 %, comes back as it is, and says its own mpp.

    Args:
        reader: the slide; closed with the result.
        target_mpp: wanted microns per pixel.

    Raises:
        DataError: if the slide does not say its microns per pixel.
    """
    scale = target_mpp / require_mpp(reader)
    return reader if abs(scale - 1) < SAME_MPP else ResampledReader(reader, scale)


def thumbnail(reader: PagedReader, longest_px: int, on_damage: OnDamage | None = None) -> NDArray[np.uint8]:
    """Return the whole image as RGB, at most ``longest_px`` on its longer side.

    Args:
        reader: the image.
        longest_px: most pixels of the longer side.
        on_damage: called with each part of the thumbnail that cannot be decoded, which is white; None raises.

    Raises:
        DataError: if the page used cannot be decoded.
    """
    scale = max(1.0, max(reader.width_px, reader.height_px) / longest_px)
    small = ResampledReader(reader, scale)
    rows = max(1, int(_READ_AT_ONCE_PX / (reader.width_px * scale)))
    bands = [Region(0, y, small.width_px, min(rows, small.height_px - y)) for y in range(0, small.height_px, rows)]
    return np.concatenate(
        [small.read(band) if on_damage is None else read_around_damage(small, band, on_damage) for band in bands]
    )


class ResampledReader(SlideReader):
    """A slide seen on a grid of other pixels, each ``scale`` times as wide and high as those of its finest page.

    Pixels are averaged from the coarsest page that is still as fine as the grid. A region holds the same values
    whether it is read alone or as part of a larger one; on coarse pages whose downsample is no whole number openslide
    interpolates by itself, so that values differ by about a grey level.
    """

    def __init__(self, reader: PagedReader, scale: float) -> None:
        self._reader = reader
        self.path = reader.path
        self.width_px = max(1, math.floor(reader.width_px / scale + 1e-6))
        self.height_px = max(1, math.floor(reader.height_px / scale + 1e-6))
        self.mpp = None if reader.mpp is None else reader.mpp * scale
        fine_enough = [i for i, page in enumerate(reader.pages) if page.downsample <= scale * (1 + SAME_MPP)]
        self._page = max(fine_enough, key=lambda i: reader.pages[i].downsample, default=0)
        self._ratio = scale / reader.pages[self._page].downsample

    def read(self, region: Region) -> NDArray[np.uint8]:
        """Return RGB ``(height_px, width_px, 3)`` of a region in pixels of the new grid.

        Raises:
            DataError: if the region cannot be decoded.
        """
        page = self._reader.pages[self._page]
        left, right, x, width = self._span(region.x_px, region.width_px, page.width_px)
        top, below, y, height = self._span(region.y_px, region.height_px, page.height_px)
        pixels = Image.fromarray(self._reader.read_page(self._page, Region(x, y, width, height)))
        # One axis at a time: Pillow chooses the order by size, and bicubic overshoot is clipped in between.
        narrow = pixels.resize((region.width_px, height), Image.Resampling.BICUBIC, box=(left, 0, right, height))
        size = (region.width_px, region.height_px)
        return np.asarray(narrow.resize(size, Image.Resampling.BICUBIC, box=(0, top, region.width_px, below)))

    def close(self) -> None:
        """Close the slide."""
        self._reader.close()

    def _span(self, start_px: int, length_px: int, page_px: int) -> tuple[float, float, int, int]:
        """Return begin and end of a range within what is read for it, and begin and length of that, in page pixels."""
        begin = start_px * self._ratio
        end = min((start_px + length_px) * self._ratio, float(page_px))
        reach = _BICUBIC_REACH * max(1.0, self._ratio) + 1
        first = max(0, math.floor(begin - reach))
        last = min(page_px, math.ceil(end + reach))
        return begin - first, end - first, first, last - first
