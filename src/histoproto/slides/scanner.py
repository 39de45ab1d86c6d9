"""Scanners' own formats, by openslide (extra ``wsi``)."""

import importlib
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from histoproto.contracts import Region
from histoproto.errors import DataError
from histoproto.slides.mpp import mpp_by_resolution, square_mpp
from histoproto.slides.pages import Page, PagedReader

_UNITS = {"inch": 2, "centimeter": 3}


def openslide_module() -> Any | None:
    """Return the module openslide, or None where it is not installed."""
    try:
        return importlib.import_module("openslide")
    except (ImportError, OSError):  # OSError: the package is there, its C library is not
        return None


class ScannerReader(PagedReader):
    """A slide in a format that openslide knows."""

    def __init__(self, path: Path, openslide: Any) -> None:
        """Open a slide.

        Raises:
            DataError: if openslide refuses the file, or its pixels are not square.
        """
        self.path = path
        self._openslide = openslide
        self._reopening = threading.Lock()
        self._failed: list[Any] = []
        self._slide = self._open()
        self.width_px, self.height_px = self._slide.dimensions
        self.properties = dict(self._slide.properties)
        self.pages = tuple(
            Page(width, height, downsample)
            for (width, height), downsample in zip(
                self._slide.level_dimensions, self._slide.level_downsamples, strict=True
            )
        )
        self._ground = "#" + self.properties.get("openslide.background-color", "FFFFFF")
        try:
            self.mpp = _mpp(path, self.properties)
        except DataError:
            self.close()
            raise

    def read_page(self, page: int, region: Region) -> NDArray[np.uint8]:
        """Return a region of one page, as ``PagedReader.read_page``; what was not scanned has the ground's colour.

        Raises:
            DataError: if the region cannot be decoded; other regions can still be read.
        """
        downsample = self.pages[page].downsample
        corner = round(region.x_px * downsample), round(region.y_px * downsample)
        slide = self._slide
        try:
            rgba = slide.read_region(corner, page, (region.width_px, region.height_px))
        except self._openslide.OpenSlideError as error:
            self._reopen(slide)
            raise DataError(
                f"{self.path}: {region.width_px} x {region.height_px} px at x {region.x_px}, y {region.y_px} of page "
                f"{page} cannot be decoded ({error}); copy the slide again from its source"
            ) from None
        ground = Image.new("RGB", rgba.size, self._ground)
        ground.paste(rgba, mask=rgba.getchannel("A"))
        return np.asarray(ground)

    def close(self) -> None:
        """Close the file."""
        for slide in (self._slide, *self._failed):
            slide.close()

    def _open(self) -> Any:
        try:
            return self._openslide.OpenSlide(self.path)
        except self._openslide.OpenSlideError as error:
            raise DataError(f"{self.path}: openslide cannot open it ({error}); copy the slide again") from None

    def _reopen(self, failed: Any) -> None:
        """Replace a handle that failed once, since openslide then refuses whatever is asked of it."""
        with self._reopening:
            if self._slide is failed:
                self._slide = self._open()
                self._failed.append(failed)  # another thread may be reading from it


def _mpp(path: Path, properties: dict[str, str]) -> float | None:
    across, down = _number(properties, "openslide.mpp-x"), _number(properties, "openslide.mpp-y")
    if across and down:
        return square_mpp(path, across, down)
    unit = _UNITS.get(properties.get("tiff.ResolutionUnit", ""), 1)
    return mpp_by_resolution(
        path, _number(properties, "tiff.XResolution"), _number(properties, "tiff.YResolution"), unit
    )


def _number(properties: dict[str, str], name: str) -> float:
    try:
        return float(properties.get(name, "0"))
    except ValueError:
        return 0.0
