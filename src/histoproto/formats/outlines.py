"""The connected pieces of one block of class indices, as polygons that tile the block."""

from collections.abc import Callable
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
    tolerance_px: float,
) -> CutBlock:
    """Cut a block into pieces whose pixels touch along an edge (4-connectivity).

    With a tolerance, borders between pieces, and between pieces and background, are simplified as one coverage
    (Visvalingam and Whyatt), so that neighbours stay without gap or overlap. What lies on the block's frame stays, so
    that neighbouring blocks go on fitting each other.

    Args:
        labels: class indices; values from ``classes`` on are no piece.
        confidence: 255 for 1.
        classes: number of classes.
        tolerance_px: square root of the area of triangles that may be cut off; 0 keeps the outlines of the pixels.
    """
    from skimage import measure

    number_pieces: Callable[..., NDArray[np.int64]] = measure.label
    numbers = number_pieces(labels.astype(np.int16), background=-1, connectivity=1).astype(np.int32)
    values = np.zeros(int(numbers.max()) + 1, np.uint8)
    values[numbers] = labels
    values[0] = classes
    pixels = np.bincount(numbers.ravel(), minlength=len(values))
    sums = np.bincount(numbers.ravel(), weights=confidence.ravel(), minlength=len(values))
    pieces = [
        Piece(number, int(values[number]), polygon, int(pixels[number]), int(sums[number]))
        for number, polygon in _polygons(numbers, tolerance_px).items()
        if values[number] < classes
    ]
    return CutBlock(pieces, np.where(values[numbers] < classes, numbers, 0).astype(np.int32))


def _polygons(numbers: Int32[np.ndarray, "height width"], tolerance_px: float) -> "dict[int, Polygon]":
    """Return the polygon of every piece, background included, by its number.

    Outlines of pixels have a corner only where they turn. A coverage needs one wherever three pieces meet as well, so
    every pixel's corner is made one first and those on straight lines are removed afterwards.
    """
    import shapely
    from rasterio.features import shapes
    from shapely.geometry import shape

    outlines = [(int(number), shape(outline)) for outline, number in shapes(numbers, connectivity=4)]
    polygons = np.array([polygon for _, polygon in outlines], object)
    if tolerance_px > 0:
        corners = shapely.segmentize(polygons, 1.0)
        simple = shapely.coverage_simplify(corners, tolerance_px, simplify_boundary=False)
        polygons = shapely.simplify(simple, 0.0, preserve_topology=False)
    return {number: polygon for (number, _), polygon in zip(outlines, polygons, strict=True)}
