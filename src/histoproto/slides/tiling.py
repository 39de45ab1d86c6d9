"""Where tiles lie on an image: pure arithmetic."""

from typing import NamedTuple

from histoproto.errors import ConfigError


class Tile(NamedTuple):
    """A square piece of an image, which may reach over its right and lower border."""

    y_px: int
    x_px: int
    height_px: int
    width_px: int


def tile_grid(height_px: int, width_px: int, tile_px: int, overlap_px: int, align_px: int) -> list[Tile]:
    """Return tiles that cover an image, row by row.

    All tiles are ``tile_px`` wide and high and begin at multiples of ``align_px``. The last one of a row or column
    ends at the first multiple of ``align_px`` at or beyond the border, which is where an image in one piece is padded
    to: a network of that stride sees the same cells either way. An image smaller than a tile gets one tile.

    Args:
        height_px: height of the image, at least 1.
        width_px: width of the image, at least 1.
        tile_px: side of a tile, a multiple of ``align_px``.
        overlap_px: least overlap of neighbours.
        align_px: the network's largest stride.

    Raises:
        ConfigError: if the three sizes do not fit together.
    """
    rows = tile_offsets(height_px, tile_px, overlap_px, align_px)
    columns = tile_offsets(width_px, tile_px, overlap_px, align_px)
    return [Tile(y, x, tile_px, tile_px) for y in rows for x in columns]


def tile_offsets(size_px: int, tile_px: int, overlap_px: int, align_px: int) -> list[int]:
    """Return where the tiles of ``tile_grid`` begin along one side of an image.

    Raises:
        ConfigError: as ``tile_grid``.
    """
    if align_px < 1 or tile_px < align_px or tile_px % align_px:
        raise ConfigError(
            f"tiles of {tile_px} px are no multiple of {align_px} px, the network's largest stride; choose one"
        )
    if not 0 <= overlap_px <= tile_px - align_px:
        raise ConfigError(
            f"an overlap of {overlap_px} px does not fit into tiles of {tile_px} px; "
            f"choose 0 to {tile_px - align_px} px, or larger tiles"
        )
    step = (tile_px - overlap_px) // align_px * align_px
    last = -(-max(0, size_px - tile_px) // align_px) * align_px
    return [*range(0, last, step), last]
