"""The connected pieces of one block of class indices, as polygons that tile the block."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int32, UInt8
from numpy.typing import NDArray

if TYPE_CHECKING:
    from shapely import Polygon


@dataclass(frozen=True)
class Piece:
    """A connected piece of one class within a block."""

    number: int
    """Its value in the map of pieces, from 1."""
    value: int
    """Class index."""
    polygon: "Polygon"
    """In pixels of the block; a pixel is a square from its index to the next."""
    pixels: int
    confidence_sum: int
    """Of its pixels, 255 for 1."""
    on_frame: bool
    """Whether it reaches the block's frame and may go on beyond it."""


@dataclass(frozen=True)
class CutBlock:
    """A block cut into pieces."""

    pieces: list[Piece]
    numbers: Int32[np.ndarray, "height width"]
    """The piece of every pixel; 0 where there is none."""


def cut(
    labels: UInt8[np.ndarray, "height width"],
    confidence: UInt8[np.ndarray, "height width"],
    classes: int,
    *,
    smallest_px: int,
    tolerance_px: float,
) -> CutBlock:
    """Cut a block into pieces whose pixels touch along an edge (4-connectivity).

    With a tolerance, borders between pieces, and between pieces and the rest, are simplified as one coverage
    (Visvalingam and Whyatt), so that neighbours stay without gap or overlap. What lies on the block's frame stays, so
    that neighbouring blocks go on fitting each other.

    Args:
        labels: class indices; values from ``classes`` on are no piece.
        confidence: 255 for 1.
        classes: number of classes.
        smallest_px: pieces of fewer pixels are left out, unless they reach the frame and may go on beyond it.
        tolerance_px: square root of the area of triangles that may be cut off; 0 keeps the outlines of the pixels.
    """
    from skimage import measure

    number_pieces: Callable[..., NDArray[np.int64]] = measure.label
    numbers = number_pieces(labels.astype(np.int16), background=-1, connectivity=1).astype(np.int32)
    pixels = np.bincount(numbers.ravel())
    values = np.full(len(pixels), classes, np.uint8)
    values[numbers] = labels
    on_frame = np.zeros(len(pixels), bool)
    for edge in (numbers[0], numbers[-1], numbers[:, 0], numbers[:, -1]):
        on_frame[edge] = True
    kept = (values < classes) & (on_frame | (pixels >= smallest_px))
    numbers = np.where(kept[numbers], numbers, 0).astype(np.int32)
    sums = np.bincount(numbers.ravel(), weights=confidence.ravel(), minlength=len(pixels))
    pieces = [
        Piece(number, int(values[number]), polygon, int(pixels[number]), int(sums[number]), bool(on_frame[number]))
        for number, polygon in _polygons(numbers, tolerance_px)
    ]
    return CutBlock(pieces, numbers)


def _polygons(numbers: Int32[np.ndarray, "height width"], tolerance_px: float) -> "Iterator[tuple[int, Polygon]]":
    """Yield every piece's number and polygon.

    Outlines of pixels have a corner only where they turn. A coverage, which here holds the rest too, needs one wherever
    three polygons meet, so every pixel's corner is made one first; those on straight lines are removed afterwards.
    """
    import shapely
    from rasterio.features import shapes
    from shapely.geometry import shape

    mask = None if tolerance_px > 0 else numbers > 0
    outlines = [(int(number), shape(outline)) for outline, number in shapes(numbers, mask=mask, connectivity=4)]
    polygons = np.array([polygon for _, polygon in outlines], object)
    if tolerance_px > 0:
        corners = shapely.segmentize(polygons, 1.0)
        simple = shapely.coverage_simplify(corners, tolerance_px, simplify_boundary=False)
        polygons = shapely.simplify(simple, 0.0, preserve_topology=False)
    for (number, _), polygon in zip(outlines, polygons, strict=True):
        if number:
            yield number, polygon
