"""Which tiles of an image are computed, in pieces that are narrow enough for memory: pure arithmetic."""

from collections.abc import Callable
from itertools import groupby, pairwise
from typing import NamedTuple

from histoproto.contracts import Region
from histoproto.slides.tiling import Tile, tile_offsets


class Piece(NamedTuple):
    """A part of an image that is computed by itself: rows of tiles without a gap, of a strip of its width."""

    area: Region
    """What its tiles cover, inside the image."""
    left_px: int
    """First column of the image that this piece answers for; what it covers beyond belongs to its neighbours or to
    nobody."""
    right_px: int
    """Column after the last that it answers for."""
    tiles: tuple[Tile, ...]
    """Row by row, with places in the image; tiles that nobody wants are left out."""


def cut_into_pieces(
    height_px: int,
    width_px: int,
    *,
    tile_px: int,
    overlap_px: int,
    align_px: int,
    reach_px: int = 0,
    widest_px: int | None = None,
    wanted: Callable[[Region], bool] | None = None,
) -> list[Piece]:
    """Return the tiles of ``tile_grid``, strip by strip, those left out that nobody wants.

    A strip holds every tile of the grid that touches the columns it answers for, so that blended values there are
    those of the whole image; tiles at the border of two strips are computed twice.

    Args:
        height_px: height of the image.
        width_px: width of the image.
        tile_px: side of a tile.
        overlap_px: least overlap of neighbours.
        align_px: the network's largest stride.
        reach_px: how far around a pixel the blended values must be right.
        widest_px: least width that is cut into strips; None never cuts.
        wanted: says whether something within ``reach_px`` is wanted; None wants everything.

    Raises:
        ConfigError: if the sizes do not fit together, as ``tile_grid``.
    """
    rows = tile_offsets(height_px, tile_px, overlap_px, align_px)
    columns = tile_offsets(width_px, tile_px, overlap_px, align_px)
    step = max(1, (tile_px - overlap_px) // align_px * align_px)
    pieces = []
    for left, right in _strips(width_px, tile_px, step, widest_px):
        inside = [x for x in columns if x < right + reach_px and x + tile_px > left - reach_px]
        chosen = [
            (y, [x for x in inside if _is_wanted(y, x, (height_px, width_px), tile_px, reach_px, wanted)]) for y in rows
        ]
        for any_wanted, group in groupby(chosen, key=lambda row: bool(row[1])):
            if any_wanted:
                run = list(group)
                tiles = tuple(Tile(y, x, tile_px, tile_px) for y, places in run for x in places)
                top, below = run[0][0], min(height_px, run[-1][0] + tile_px)
                first, last = min(tile.x_px for tile in tiles), max(tile.x_px for tile in tiles)
                end = min(width_px, last + tile_px)
                if first < right and end > left:  # otherwise its neighbour answers for all that is wanted here
                    area = Region(first, top, end - first, below - top)
                    pieces.append(Piece(area, max(left, first), min(right, end), tiles))
    return pieces


def _strips(width_px: int, tile_px: int, step_px: int, widest_px: int | None) -> list[tuple[int, int]]:
    """Return first column and column after the last of each strip.

    Borders lie in the middle of a tile, so that usually one column of tiles is computed twice.
    """
    if widest_px is None or width_px <= widest_px:
        return [(0, width_px)]
    steps = max(1, (widest_px - tile_px) // step_px)
    borders = [0, *range(tile_px // 2 + steps * step_px, width_px - step_px, steps * step_px), width_px]
    return list(pairwise(borders))


def _is_wanted(
    y_px: int,
    x_px: int,
    size_px: tuple[int, int],
    tile_px: int,
    reach_px: int,
    wanted: Callable[[Region], bool] | None,
) -> bool:
    if wanted is None:
        return True
    top, left = max(0, y_px - reach_px), max(0, x_px - reach_px)
    below = min(size_px[0], y_px + tile_px + reach_px)
    right = min(size_px[1], x_px + tile_px + reach_px)
    return wanted(Region(left, top, right - left, below - top))
