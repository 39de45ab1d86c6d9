"""Read what can be read of an image that is damaged in places."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from histoproto.contracts import Region, SlideReader
from histoproto.errors import DataError

OnDamage = Callable[[Region], None]
"""Takes a part of an image that cannot be read."""

SMALLEST_PX = 64
"""Parts are halved until they are this small: a quarter of a usual compressed tile's side."""
GROUND = 255
"""Value of pixels that cannot be read: white."""


def read_around_damage(reader: SlideReader, region: Region, on_damage: OnDamage) -> NDArray[np.uint8]:
    """Return RGB ``(height_px, width_px, 3)`` of a region, white where it cannot be read.

    A region that fails is read again in quarters, and those that fail in theirs.

    Args:
        reader: the image.
        region: inside the image.
        on_damage: called with each part that cannot be read, of at most ``SMALLEST_PX`` or an eighth of the region.
    """
    smallest = max(SMALLEST_PX, max(region.width_px, region.height_px) // 8)
    try:
        return reader.read(region)
    except DataError:
        pixels = np.full((region.height_px, region.width_px, 3), GROUND, np.uint8)
        _fill(reader, region, smallest, pixels, on_damage)
        return pixels


def _fill(reader: SlideReader, region: Region, smallest: int, pixels: NDArray[np.uint8], on_damage: OnDamage) -> None:
    """Read a region that is known to fail into ``pixels``, in quarters."""
    if max(region.width_px, region.height_px) <= smallest:
        on_damage(region)
        return
    for part in _quarters(region):
        target = pixels[
            part.y_px - region.y_px : part.y_px - region.y_px + part.height_px,
            part.x_px - region.x_px : part.x_px - region.x_px + part.width_px,
        ]
        try:
            target[:] = reader.read(part)
        except DataError:
            _fill(reader, part, smallest, target, on_damage)


def _quarters(region: Region) -> list[Region]:
    x, y = region.x_px, region.y_px
    across = [(x, (region.width_px + 1) // 2), (x + (region.width_px + 1) // 2, region.width_px // 2)]
    down = [(y, (region.height_px + 1) // 2), (y + (region.height_px + 1) // 2, region.height_px // 2)]
    return [Region(left, top, width, height) for top, height in down for left, width in across if width and height]
