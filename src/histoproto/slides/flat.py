"""Images that are decoded whole: PNG, JPEG, BMP and plain TIFF."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from histoproto.contracts import Region
from histoproto.errors import DataError
from histoproto.images import read_picture
from histoproto.slides.pages import Page, PagedReader

LIMIT_PX = 2**31 // 24
"""Most pixels that are decoded at once (89 million, 256 MiB); Pillow's own limit against decompression bombs."""


class FlatReader(PagedReader):
    """An image held in memory."""

    def __init__(self, path: Path, mpp: float | None) -> None:
        """Decode an image.

        Raises:
            DataError: if it is too large to be held in memory, or as ``histoproto.images.read_picture``.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            try:
                self._rgb, self.converted_from = read_picture(path)
            except (Image.DecompressionBombWarning, Image.DecompressionBombError):
                raise too_large(path) from None
        self.path = path
        self.height_px, self.width_px = self._rgb.shape[:2]
        self.mpp = mpp
        self.pages = (Page(self.width_px, self.height_px, 1.0),)
        self.properties: dict[str, str] = {}

    def read_page(self, page: int, region: Region) -> NDArray[np.uint8]:
        """Return a region of the only page, as ``PagedReader.read_page``."""
        below, right = region.y_px + region.height_px, region.x_px + region.width_px
        return self._rgb[region.y_px : below, region.x_px : right]

    def close(self) -> None:
        """Nothing is open."""


def too_large(path: Path) -> DataError:
    """Return the error for an image that would have to be decoded whole but is too large for that."""
    return DataError(
        f"{path}: more than {LIMIT_PX / 1e6:.0f} million pixels in one piece; save it as a tiled pyramidal TIFF, "
        "which is read piece by piece"
    )
