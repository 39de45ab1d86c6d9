"""A network run over an image of any size: read ahead, compute in batches, blend, hand out finished rows."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from histoproto.contracts import Region, SlideReader
from histoproto.progress import Advance
from histoproto.slides.blend import Band, Blender
from histoproto.slides.damage import OnDamage, read_around_damage
from histoproto.slides.pieces import Piece, cut_into_pieces
from histoproto.slides.tiling import Tile

Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Takes RGB tiles ``(batch, 3, tile, tile)`` in [0, 1], returns maps ``(batch, channels, tile, tile)``."""

_BATCHES_AHEAD = 2


class _Batch(NamedTuple):
    tiles: list[tuple[int, Tile]]
    """With the number of their piece."""
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
    whole = cut_into_pieces(
        reader.height_px, reader.width_px, tile_px=tile_px, overlap_px=overlap_px, align_px=align_px
    )
    for placed in map_pieces(
        reader, network, whole, overlap_px=overlap_px, batch=batch, on_progress=on_progress, fade=fade
    ):
        yield placed.band


class PlacedBand(NamedTuple):
    """Finished rows of one piece of an image."""

    piece: Piece
    band: Band
    """Its first row counts from the piece's first."""


def map_pieces(
    reader: SlideReader,
    network: Network,
    pieces: Sequence[Piece],
    *,
    overlap_px: int,
    batch: int,
    on_progress: Advance,
    fade: bool = True,
    on_damage: OnDamage | None = None,
) -> Iterator[PlacedBand]:
    """Yield a network's blended maps of some pieces of an image, piece by piece, from top to bottom.

    As ``map_tiles``; batches run on from one piece to the next. Memory grows with the width of a piece alone.

    Args:
        reader: the image at the network's resolution.
        network: called with full batches, the last one excepted.
        pieces: what ``cut_into_pieces`` returned.
        overlap_px: least overlap of neighbouring tiles.
        batch: tiles computed at once.
        on_progress: called with the number of tiles just finished.
        fade: tiles weigh less towards their edges.
        on_damage: called, from another thread, with each part of the image that cannot be read, which is white to the
            network; None raises.

    Raises:
        DataError: if a part of the image cannot be read.
    """
    tiles = [(index, tile) for index, piece in enumerate(pieces) for tile in piece.tiles]
    batches = [tiles[i : i + batch] for i in range(0, len(tiles), batch)]
    results = (
        (index, tile, maps)
        for numbered, images in _read_ahead(reader, batches, on_damage)
        for (index, tile), maps in zip(numbered, _computed(network, images, on_progress), strict=True)
    )
    for index, group in groupby(results, key=lambda result: result[0]):
        piece = pieces[index]
        for band in _blended(piece, ((tile, maps) for _, tile, maps in group), overlap_px, fade=fade):
            yield PlacedBand(piece, band)


def _computed(network: Network, images: NDArray[np.float32], on_progress: Advance) -> NDArray[np.float32]:
    maps = network(images)
    on_progress(len(images))
    return maps


def _blended(
    piece: Piece, tiles: Iterable[tuple[Tile, NDArray[np.float32]]], overlap_px: int, *, fade: bool
) -> Iterator[Band]:
    """Yield the bands of one piece, whose rows count from its first."""
    area, blender = piece.area, None
    for tile, maps in tiles:
        if blender is None:
            size = area.height_px, area.width_px, tile.height_px
            blender = Blender(len(maps), *size, overlap_px, fade=fade, sparse=True)
        inside = tile._replace(y_px=tile.y_px - area.y_px, x_px=tile.x_px - area.x_px)
        yield from blender.advance(inside.y_px)
        blender.add(inside, maps)
    if blender is not None:
        yield from blender.advance(area.height_px)


def _read_ahead(
    reader: SlideReader, batches: list[list[tuple[int, Tile]]], on_damage: OnDamage | None
) -> Iterator[_Batch]:
    waiting = iter(batches)
    pending: deque[Future[_Batch]] = deque()
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-tiles")
    try:
        while True:
            while len(pending) < _BATCHES_AHEAD and (tiles := next(waiting, None)) is not None:
                pending.append(thread.submit(_read_batch, reader, tiles, on_damage))
            if not pending:
                return
            # One more is submitted only when the consumer comes back, so at most two wait in memory.
            yield pending.popleft().result()
    finally:
        thread.shutdown(cancel_futures=True)


def _read_batch(reader: SlideReader, tiles: list[tuple[int, Tile]], on_damage: OnDamage | None) -> _Batch:
    pixels = np.stack([_read_tile(reader, tile, on_damage) for _, tile in tiles])
    return _Batch(tiles, np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32) / np.float32(255))


def _read_tile(reader: SlideReader, tile: Tile, on_damage: OnDamage | None) -> NDArray[np.uint8]:
    """Return RGB ``(tile, tile, 3)``; beyond the border the image is reflected."""
    height = min(tile.height_px, reader.height_px - tile.y_px)
    width = min(tile.width_px, reader.width_px - tile.x_px)
    region = Region(tile.x_px, tile.y_px, width, height)
    pixels = reader.read(region) if on_damage is None else read_around_damage(reader, region, on_damage)
    return np.pad(pixels, ((0, tile.height_px - height), (0, tile.width_px - width), (0, 0)), mode="reflect")
