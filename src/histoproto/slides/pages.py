"""What every reader knows: its pyramid pages."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from histoproto.contracts import Region, SlideReader


class Page(NamedTuple):
    """One page of a pyramid."""

    width_px: int
    height_px: int
    downsample: float
    """Pixels of the finest page per pixel of this one, 1 or more."""


class PagedReader(SlideReader):
    """A slide reader with pyramid pages, for ``at_mpp`` and ``thumbnail`` alone: users never name a page."""

    pages: Sequence[Page]
    """Finest first."""
    properties: Mapping[str, str]
    """What the file says about itself."""

    @abstractmethod
    def read_page(self, page: int, region: Region) -> NDArray[np.uint8]:
        """Return RGB ``(height_px, width_px, 3)`` of a region given in pixels of one page, inside that page.

        Raises:
            DataError: if the region cannot be decoded.
        """

    def read(self, region: Region) -> NDArray[np.uint8]:
        """Return RGB ``(height_px, width_px, 3)`` of a region of the finest page.

        Raises:
            DataError: if the region cannot be decoded.
            ValueError: if it is empty or not inside the image.
        """
        if not (
            0 <= region.x_px < region.x_px + region.width_px <= self.width_px
            and 0 <= region.y_px < region.y_px + region.height_px <= self.height_px
        ):
            raise ValueError(f"{self.path}: {region} is not inside {self.width_px} x {self.height_px} px")
        return self.read_page(0, region)
