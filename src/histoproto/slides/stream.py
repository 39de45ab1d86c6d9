"""A network run over an image of any size: read ahead, compute in batches, blend, hand out finished rows."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from histoproto.contracts import Region, SlideReader
from histoproto.progress import Advance
from histoproto.slides.blend import Band, Blender
from histoproto.slides.tiling import Tile, tile_grid

Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Takes RGB tiles ``(batch, 3, tile, tile)`` in [0, 1], returns maps ``(batch, channels, tile, tile)``."""

_BATCHES_AHEAD = 2


class _Batch(NamedTuple):
    tiles: list[Tile]
    images: Float32[np.ndarray, "batch 3 tile tile"]


def map_tiles(
    reader: SlideReader,
    network: Network,
    *,
    tile_px: int,
    overlap_px: int,
    align_px: int,
    batch: int,
    on_progress: Advance,
    fade: bool = True,
) -> Iterator[Band]:
    """Yield a network's blended maps of a whole image, as bands of rows from top to bottom.

    Inner results equal those of the network on the whole image if its receptive field reaches no farther than
    ``margin_px(overlap_px)``. One thread reads the next batches while the network computes; batches run on across rows
    of tiles. Memory grows with the image's width, not with its height.

    Args:
        reader: the image at the network's resolution (see ``at_mpp``).
        network: called with full batches, the last one excepted.
        tile_px: side of a tile, a multiple of ``align_px``.
        overlap_px: least overlap of neighbouring tiles.
        align_px: the network's largest stride.
        batch: tiles computed at once.
        on_progress: called with the number of tiles just finished; ``tile_grid`` says how many there are.
        fade: tiles weigh less towards their edges, as the margin needs; otherwise their plain mean is taken.

    Raises:
        ConfigError: if the three sizes do not fit together.
        DataError: if a piece of the image cannot be read.
    """
    grid = tile_grid(reader.height_px, reader.width_px, tile_px, overlap_px, align_px)
    blender: Blender | None = None
    for tiles, images in _read_ahead(reader, [grid[i : i + batch] for i in range(0, len(grid), batch)]):
        maps = network(images)
        if blender is None:
            blender = Blender(maps.shape[1], reader.height_px, reader.width_px, tile_px, overlap_px, fade=fade)
        for tile, tile_maps in zip(tiles, maps, strict=True):
            band = blender.add(tile, tile_maps)
            if band is not None:
                yield band
        on_progress(len(tiles))
    rest = blender.finish() if blender else None
    if rest is not None:
        yield rest


def _read_ahead(reader: SlideReader, batches: list[list[Tile]]) -> Iterator[_Batch]:
    waiting = iter(batches)
    pending: deque[Future[_Batch]] = deque()
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-tiles")
    try:
        while True:
            while len(pending) < _BATCHES_AHEAD and (tiles := next(waiting, None)) is not None:
                pending.append(thread.submit(_read_batch, reader, tiles))
            if not pending:
                return
            # One more is submitted only when the consumer comes back, so at most two wait in memory.
            yield pending.popleft().result()
    finally:
        thread.shutdown(cancel_futures=True)


def _read_batch(reader: SlideReader, tiles: list[Tile]) -> _Batch:
    pixels = np.stack([_read_tile(reader, tile) for tile in tiles])
    return _Batch(tiles, np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32) / np.float32(255))


def _read_tile(reader: SlideReader, tile: Tile) -> NDArray[np.uint8]:
    """Return RGB ``(tile, tile, 3)``; beyond the border the image is reflected."""
    height = min(tile.height_px, reader.height_px - tile.y_px)
    width = min(tile.width_px, reader.width_px - tile.x_px)
    pixels = reader.read(Region(tile.x_px, tile.y_px, width, height))
    return np.pad(pixels, ((0, tile.height_px - height), (0, tile.width_px - width), (0, 0)), mode="reflect")
