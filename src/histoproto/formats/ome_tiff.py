"""Class indices and probabilities of a slide as tiled, pyramidal, lossless OME-TIFF, written in one pass over the data.

Each level halves the one below. While the finest level streams to the file, the tiles of the coarser ones are made from
it, compressed, and parked in temporary files until their turn comes: the source is read once, and memory holds two rows
of tiles per level.
"""

import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple
from uuid import UUID, uuid5

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

from histoproto.atomic import replacing
from histoproto.formats.arrays import SlideArray, require_uint8
from histoproto.formats.overlay import UNDECIDED_COLOUR
from histoproto.taxonomy import IGNORE, Colour, Taxonomy

TILE_PX = 512
LARGEST_CLASSIC_BYTES = 2**32 - 2**25
"""Uncompressed bytes up to which classic TIFF is sure to do; above it is BigTIFF."""
_NAMESPACE = UUID("d0a3a1f4-9f0e-4b5c-8a77-5d0c1e2b9f10")

Strip = NDArray[np.uint8]
"""Rows of one plane, ``TILE_PX`` of them or fewer at its end."""
Halving = Callable[[Strip], Strip]


def write_labels(path: Path, labels: SlideArray, taxonomy: Taxonomy, mpp: float | None) -> None:
    """Write class indices with a palette, atomically; coarser levels take every second pixel.

    The names of the values are written as a map annotation. Programs that know palettes show colours; QuPath reads the
    values and shows them in grey.

    Args:
        path: ends in ``.ome.tif``.
        labels: uint8 ``(height, width)``: class indices, the taxonomy's background value, or 255 for undecided.
        taxonomy: names and colours.
        mpp: microns per pixel, None where unknown.

    Raises:
        ValueError: if the labels have another type or shape.
    """
    require_uint8("labels", labels, axes=2)
    names = {str(value): title for value, title in enumerate((*taxonomy.titles, "Background"))}
    _write(
        path,
        _Planes(labels, _every_second, fill=taxonomy.background),
        mpp,
        metadata={
            "Channel": {"Name": "Class"},
            "MapAnnotation": {"Name": "classes", **names, str(IGNORE): "Undecided"},
        },
        photometric="palette",
        colormap=_palette(taxonomy),
    )


def write_probabilities(path: Path, probabilities: SlideArray, taxonomy: Taxonomy, mpp: float | None) -> None:
    """Write one channel per class, in its colour, atomically; coarser levels are means of 2 x 2 pixels.

    Args:
        path: ends in ``.ome.tif``.
        probabilities: uint8 ``(classes, height, width)``, 255 for 1.
        taxonomy: names and colours of the classes.
        mpp: microns per pixel of this array, None where unknown.

    Raises:
        ValueError: if the probabilities have another type or shape.
    """
    require_uint8("probabilities", probabilities, axes=3)
    if probabilities.shape[0] != len(taxonomy):
        raise ValueError(f"{probabilities.shape[0]} planes of probabilities for {len(taxonomy)} classes")
    colours = [_ome_colour(colour) for colour in taxonomy.colours]
    _write(
        path,
        _Planes(probabilities, _mean_of_four, fill=0),
        mpp,
        metadata={"Channel": {"Name": list(taxonomy.titles), "Color": colours}},
        photometric="minisblack",
    )


def _write(path: Path, planes: "_Planes", mpp: float | None, metadata: dict[str, Any], **options: Any) -> None:
    from tifffile import TiffWriter

    if not path.name.lower().endswith(".ome.tif"):
        raise ValueError(f"{path}: an OME-TIFF ends in .ome.tif")
    shapes = planes.level_shapes()
    raw_bytes = sum(int(np.prod(shape)) for shape in shapes)
    with (
        replacing(path) as temporary,
        _levels(planes, path.parent) as levels,
        TiffWriter(temporary, ome=True, bigtiff=raw_bytes > LARGEST_CLASSIC_BYTES) as tiff,
    ):
        for level, (shape, tiles) in enumerate(zip(shapes, levels, strict=True)):
            ome = _ome(path, shape, mpp, metadata) if level == 0 else None
            tiff.write(
                tiles,
                shape=shape,
                dtype=np.uint8,
                tile=(TILE_PX, TILE_PX),
                compression="zlib",
                subifds=len(shapes) - 1 if level == 0 else None,
                subfiletype=1 if level else 0,
                metadata=ome,
                software="histoproto",
                **_resolution(mpp, 2**level),
                **options,
            )


def _ome(path: Path, shape: tuple[int, ...], mpp: float | None, metadata: dict[str, Any]) -> dict[str, Any]:
    """Return metadata for OME-XML; the UUID is made of name and size, so that equal slides give equal bytes."""
    sizes = (
        {}
        if mpp is None
        else {"PhysicalSizeX": mpp, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": mpp, "PhysicalSizeYUnit": "µm"}
    )
    return {
        "axes": "CYX"[-len(shape) :],
        "Name": path.name.removesuffix(".ome.tif"),
        "UUID": str(uuid5(_NAMESPACE, f"{path.name} {shape} {mpp}")),
        "Creator": "histoproto",
        **sizes,
        **metadata,
    }


def _resolution(mpp: float | None, downsample: int) -> dict[str, Any]:
    if mpp is None:
        return {}
    per_centimetre = 10_000 / (mpp * downsample)
    return {"resolution": (per_centimetre, per_centimetre), "resolutionunit": "CENTIMETER"}


class _Planes:
    """The planes of an array as compressed tiles of every level."""

    def __init__(self, array: SlideArray, halve: Halving, fill: int) -> None:
        """Take an array ``(height, width)`` or ``(planes, height, width)``; ``fill`` completes tiles at the edges."""
        self._array = array
        self._halve = halve
        self._tile = np.full((TILE_PX, TILE_PX), fill, np.uint8)
        self._plain: dict[int, bytes] = {}

    def level_shapes(self) -> list[tuple[int, ...]]:
        """Return the shapes of all levels, down to one that fits a tile."""
        shapes = [tuple(self._array.shape)]
        while max(shapes[-1][-2:]) > TILE_PX:
            *planes, height, width = shapes[-1]
            shapes.append((*planes, -(-height // 2), -(-width // 2)))
        return shapes

    def strips(self) -> Iterator[list[Strip]]:
        """Yield each plane's strips in turn, with those of all coarser levels that they complete, finest first."""
        *planes, height, _ = self._array.shape
        levels = len(self.level_shapes())
        for plane in range(planes[0]) if planes else (None,):
            waiting: list[list[Strip]] = [[] for _ in range(levels)]
            for top in range(0, height, TILE_PX):
                rows = slice(top, min(top + TILE_PX, height))
                strip = np.asarray(self._array[rows] if plane is None else self._array[plane, rows])
                yield self._completed(strip, waiting, last=rows.stop == height)

    def _completed(self, strip: Strip, waiting: list[list[Strip]], *, last: bool) -> list[Strip]:
        """Return a strip and, level by level, what it completes; two halved strips make one of the next level."""
        completed = [strip]
        for halves in waiting[1:]:
            halves.append(self._halve(completed[-1]))
            if len(halves) < 2 and not last:
                break
            completed.append(np.concatenate(halves))
            halves.clear()
        return completed

    def tiles(self, strip: Strip) -> Iterator[bytes]:
        """Yield the compressed tiles of a strip; those of one value are compressed once."""
        for left in range(0, strip.shape[1], TILE_PX):
            part = strip[:, left : left + TILE_PX]
            value = int(part[0, 0])
            if (part == value).all() and value in self._plain and part.shape == self._tile.shape:
                yield self._plain[value]
                continue
            tile = self._tile.copy()
            tile[: part.shape[0], : part.shape[1]] = part
            packed = zlib.compress(tile.tobytes(), 6)
            if (tile == value).all():
                self._plain[value] = packed
            yield packed


@contextmanager
def _levels(planes: _Planes, folder: Path) -> Iterator[Iterator[Iterator[bytes]]]:
    """Yield the tiles of all levels, to be taken in order: the finest as it is read, the others from files."""
    with ExitStack() as stack:
        coarser = [
            _Parked(stack.enter_context(tempfile.TemporaryFile(dir=folder)), []) for _ in planes.level_shapes()[1:]
        ]
        yield chain([_finest(planes, coarser)], (level.tiles() for level in coarser))


class _Parked(NamedTuple):
    """The tiles of one level, waiting for their turn."""

    file: IO[bytes]
    sizes: list[int]

    def add(self, tile: bytes) -> None:
        self.sizes.append(self.file.write(tile))

    def tiles(self) -> Iterator[bytes]:
        self.file.seek(0)
        return map(self.file.read, self.sizes)


def _finest(planes: _Planes, coarser: list[_Parked]) -> Iterator[bytes]:
    """Yield the finest tiles; what they complete is parked first, since nobody asks again after the last tile."""
    for finest, *others in planes.strips():
        for level, strip in zip(coarser, others, strict=False):
            for tile in planes.tiles(strip):
                level.add(tile)
        yield from planes.tiles(finest)


def _every_second(strip: UInt8[np.ndarray, "rows columns"]) -> UInt8[np.ndarray, "half_rows half_columns"]:
    return strip[::2, ::2]


def _mean_of_four(strip: UInt8[np.ndarray, "rows columns"]) -> UInt8[np.ndarray, "half_rows half_columns"]:
    """Return means of 2 x 2 pixels, rounded; an odd last row or column stands for its missing neighbour."""
    height, width = strip.shape
    even = np.pad(strip, ((0, height % 2), (0, width % 2)), mode="edge").astype(np.uint16)
    return ((even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2] + 2) // 4).astype(np.uint8)


def _palette(taxonomy: Taxonomy) -> NDArray[np.uint16]:
    """Return TIFF's colour map ``(3, 256)``, 65535 for full intensity."""
    colours = np.array(taxonomy.palette, np.uint16).reshape(256, 3)
    colours[IGNORE] = UNDECIDED_COLOUR
    return np.ascontiguousarray(colours.T * 257)


def _ome_colour(colour: Colour) -> int:
    """Return red, green, blue and full opacity as OME's signed 32-bit number."""
    red, green, blue = colour
    return int.from_bytes(bytes((red, green, blue, 255)), "big", signed=True)
