"""One map from the maps of overlapping tiles, without seams, in bands of rows."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from histoproto.slides.tiling import Tile

BAND_ROWS = 128
"""Most rows that are handed out together."""


class Band(NamedTuple):
    """Finished rows of a blended map."""

    y_px: int
    """First row."""
    maps: Float32[np.ndarray, "channels rows width"]
    """Blended values over the whole width of the image."""


def margin_px(overlap_px: int) -> int:
    """Return how far from an inner edge of a tile its values are ignored: a quarter of the overlap.

    A network whose receptive field reaches no farther gives the same map by tiles as in one piece.
    """
    return overlap_px // 4


class Blender:
    """Weighted mean of tile maps, with memory for one row of tiles however high the image is.

    With ``fade``, a tile weighs nothing within the margin of an inner edge; from there its weight rises as a squared
    sine over the overlap, up to the same distance from its neighbour's edge, so that the weights of two neighbours add
    up to 1. Where tiles overlap by more (at the far borders) the sum is divided by its weight. Edges on the image's
    border do not fade. Without ``fade`` all pixels of a tile weigh the same. With ``sparse``, tiles may be left out;
    where no tile has any weight the map is 0.
    """

    def __init__(
        self,
        channels: int,
        height_px: int,
        width_px: int,
        tile_px: int,
        overlap_px: int,
        *,
        fade: bool = True,
        sparse: bool = False,
    ) -> None:
        self._sparse = sparse
        self._height_px, self._width_px, self._tile_px = height_px, width_px, tile_px
        self._rise = _rise(tile_px, overlap_px) if fade else np.ones(tile_px, np.float32)
        self._sums = np.zeros((channels, tile_px, width_px), np.float32)
        self._weights = np.zeros((tile_px, width_px), np.float32)
        self._top_px = 0

    def advance(self, y_px: int) -> Iterator[Band]:
        """Yield the rows above ``y_px``, which no later tile touches, in bands of at most ``BAND_ROWS``.

        Args:
            y_px: first row of the next tile, or the height of the image after the last tile.

        Raises:
            ValueError: if that is above the tile before, or a tile was left out.
        """
        rows = y_px - self._top_px
        complete = self._sparse or self._weights[:rows].all()
        if not 0 <= rows <= self._tile_px or not complete:
            raise ValueError(f"tiles are not in row order, or some are missing below {self._top_px} px")
        for start in range(0, rows, BAND_ROWS):
            band = slice(start, min(start + BAND_ROWS, rows))
            weights = np.maximum(self._weights[band], np.finfo(np.float32).tiny)  # sums are 0 where the weight is
            yield Band(self._top_px + start, self._sums[:, band] / weights)
        if rows:
            for plane in (*self._sums, self._weights):
                plane[:-rows] = plane[rows:]
                plane[-rows:] = 0
        self._top_px = y_px

    def add(self, tile: Tile, maps: Float32[np.ndarray, "channels tile tile"]) -> None:
        """Add the map of one tile; what it holds beyond the image's border is dropped.

        Args:
            tile: the next tile of ``tile_grid`` in its order, to which the blender has advanced.
            maps: its values.

        Raises:
            ValueError: if the blender has not advanced to this tile's first row.
        """
        if tile.y_px != self._top_px:
            raise ValueError(f"tiles are not in row order: at {self._top_px} px, not {tile.y_px}")
        rows = min(self._tile_px, self._height_px - tile.y_px)
        columns = min(self._tile_px, self._width_px - tile.x_px)
        down = self._window(tile.y_px, self._height_px)[:rows]
        across = self._window(tile.x_px, self._width_px)[:columns]
        weights = np.outer(down, across)
        place = slice(tile.x_px, tile.x_px + columns)
        for plane, values in zip(self._sums, maps, strict=True):  # a product of all planes would not fit into caches
            plane[:rows, place] += values[:rows, :columns] * weights
        self._weights[:rows, place] += weights

    def _window(self, offset_px: int, size_px: int) -> Float32[np.ndarray, " tile"]:
        window = np.ones(self._tile_px, np.float32)
        if offset_px > 0:
            window *= self._rise
        if offset_px + self._tile_px < size_px:
            window *= self._rise[::-1]
        return window


def _rise(tile_px: int, overlap_px: int) -> Float32[np.ndarray, " tile"]:
    margin = margin_px(overlap_px)
    way = (np.arange(tile_px) - margin + 0.5) / max(1, overlap_px - 2 * margin)
    return np.asarray(np.sin(np.pi / 2 * way.clip(0, 1)) ** 2, np.float32)
