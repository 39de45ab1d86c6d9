"""Tiled and pyramidal TIFF by tifffile, with or without openslide."""

import logging
import re
import struct
import threading
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from histoproto.contracts import Region
from histoproto.errors import DataError
from histoproto.slides.flat import LIMIT_PX, too_large
from histoproto.slides.mpp import mpp_by_resolution, plausible_mpp
from histoproto.slides.pages import Page, PagedReader

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_UNDECODABLE = (
    tifffile.TiffFileError,
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    struct.error,
)
"""What tifffile and imagecodecs raise on damaged files."""
_CACHED_SEGMENTS = 64

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it finds damaged is said by an error, once


def is_tiff(path: Path) -> bool:
    """Return whether a file begins as a TIFF or BigTIFF does, whatever its name says."""
    with path.open("rb") as file:
        return file.read(4) in _MAGIC


class TiffTags:
    """What the tags of an open TIFF say, without any pixel."""

    def __init__(self, path: Path) -> None:
        """Open a TIFF.

        Raises:
            DataError: if its directories are damaged.
        """
        self.path = path
        try:
            self.tiff = tifffile.TiffFile(path)
        except _UNDECODABLE as error:
            raise _damaged(path, error) from None
        try:
            self.levels = [level.keyframe for level in self.tiff.series[0].levels]
            self.flat = len(self.tiff.pages) == 1 and not self.levels[0].is_tiled
        except _UNDECODABLE as error:
            self.close()
            raise _damaged(path, error) from None

    @property
    def mpp(self) -> float | None:
        """Microns per pixel by Aperio's description or the resolution tags; None where they do not say."""
        page = self.levels[0]
        aperio = re.search(r"\|MPP = ([0-9.]+)", page.description)
        if aperio:
            return plausible_mpp(float(aperio.group(1)))
        across, down = page.get_resolution()
        return mpp_by_resolution(self.path, float(across), float(down), int(page.resolutionunit))

    @property
    def properties(self) -> dict[str, str]:
        """Those tags in which scanners say something about themselves."""
        names = ("ImageDescription", "Make", "Model", "Software", "XResolution", "YResolution", "ResolutionUnit")
        tags = self.levels[0].tags
        return {f"tiff.{name}": str(tags[name].value) for name in names if name in tags}

    def require_rgb(self) -> None:
        """Check that pixels are 8-bit RGB.

        Raises:
            DataError: if they are not.
        """
        page = self.levels[0]
        if page.dtype != np.uint8 or page.samplesperpixel != 3 or page.planarconfig != 1:
            raise DataError(
                f"{self.path}: pixels of {page.samplesperpixel} x {page.dtype}; a slide is 8-bit RGB with its channels "
                "together, so export it again as such"
            )

    def close(self) -> None:
        """Close the file."""
        self.tiff.close()


class TiffReader(PagedReader):
    """A TIFF of which only those tiles or strips are decoded that a region needs."""

    def __init__(self, tags: TiffTags) -> None:
        """Take over an open TIFF.

        Raises:
            DataError: if its pixels are no 8-bit RGB, or only readable all at once.
        """
        tags.require_rgb()
        finest = tags.levels[0]
        if finest.chunks[0] * finest.chunks[1] > LIMIT_PX:
            raise too_large(tags.path)
        self.path = tags.path
        self.width_px, self.height_px = finest.imagewidth, finest.imagelength
        self.mpp = tags.mpp
        self.properties = tags.properties
        self.pages = tuple(
            # by the longer side: sizes are rounded to whole pixels
            Page(
                level.imagewidth,
                level.imagelength,
                max(finest.imagewidth, finest.imagelength) / max(level.imagewidth, level.imagelength),
            )
            for level in tags.levels
        )
        self._tags = tags
        self._reading = threading.Lock()
        self._segment = lru_cache(_CACHED_SEGMENTS)(self._decode)

    def read_page(self, page: int, region: Region) -> NDArray[np.uint8]:
        """Return a region of one page, as ``PagedReader.read_page``."""
        result = np.empty((region.height_px, region.width_px, 3), np.uint8)
        for index, y, x in self._segments(page, region):
            pixels = self._segment(page, index)
            top, left = max(y, region.y_px), max(x, region.x_px)
            below = min(y + pixels.shape[0], region.y_px + region.height_px)
            right = min(x + pixels.shape[1], region.x_px + region.width_px)
            result[top - region.y_px : below - region.y_px, left - region.x_px : right - region.x_px] = pixels[
                top - y : below - y, left - x : right - x
            ]
        return result

    def _segments(self, page: int, region: Region) -> Iterator[tuple[int, int, int]]:
        """Yield number, top and left of the tiles or strips that a region touches."""
        level = self._tags.levels[page]
        height, width = level.chunks[:2]
        across = -(-level.imagewidth // width)
        for row in range(region.y_px // height, -(-(region.y_px + region.height_px) // height)):
            for column in range(region.x_px // width, -(-(region.x_px + region.width_px) // width)):
                yield row * across + column, row * height, column * width

    def _decode(self, page: int, index: int) -> NDArray[np.uint8]:
        level = self._tags.levels[page]
        try:
            offset, length = level.dataoffsets[index], level.databytecounts[index]
            with self._reading:
                level.parent.filehandle.seek(offset)
                data = level.parent.filehandle.read(length)
            if not 0 < len(data) == length:
                raise ValueError(f"{len(data)} of {length} bytes")
            segment = level.decode(data, index, jpegtables=level.jpegtables, jpegheader=level.jpegheader)[0]
        except _UNDECODABLE as error:
            raise DataError(
                f"{self.path}: tile {index} of page {page} cannot be decoded ({error}); copy the slide again from its "
                "source"
            ) from None
        pixels: NDArray[np.uint8] = np.asarray(segment, np.uint8)[0]
        return pixels

    def close(self) -> None:
        """Close the file."""
        self._segment.cache_clear()
        self._tags.close()


def _damaged(path: Path, error: BaseException) -> DataError:
    said = f" ({error})" if isinstance(error, tifffile.TiffFileError) else ""  # others speak of Python, not of the file
    return DataError(f"{path}: a damaged or truncated TIFF{said}; copy the file again from its source")
