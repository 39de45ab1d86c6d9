"""Connected regions of tissue as polygons, cut block by block from labels of any size and joined across blocks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray

from histoproto.formats.arrays import SlideArray, read_labels, require_uint8, rows_of_blocks
from histoproto.formats.outlines import CutBlock, Piece, cut
from histoproto.formats.qupath import QuPathObject
from histoproto.formats.slide_packages import require
from histoproto.taxonomy import Taxonomy

if TYPE_CHECKING:
    from shapely import MultiPolygon, Polygon

BLOCK_PX = 2048


@dataclass(frozen=True)
class Region:
    """A connected region of one class."""

    value: int
    """Class index."""
    name: str
    """Short name of the class."""
    geometry: "Polygon | MultiPolygon"
    """Outline with holes, in pixels of the slide's finest page."""
    pixels: int
    """Of the labels."""
    area_mm2: float | None
    """Of these pixels, whatever the outline's simplification; None where the size of a pixel is unknown."""
    mean_confidence: float
    """Over its pixels, 0..1."""


def regions_of(
    labels: SlideArray,
    confidence: SlideArray,
    taxonomy: Taxonomy,
    *,
    mpp: float | None,
    scale: tuple[float, float] = (1.0, 1.0),
    offset: tuple[float, float] = (0.0, 0.0),
    smallest_px: int,
    tolerance_px: float,
    block_px: int = BLOCK_PX,
) -> Iterator[Region]:
    """Yield the regions of all classes, each once it is complete.

    Pixels of a class are connected where they share an edge. Without simplification, rasterising all regions gives the
    labels again; with it, neighbours still share their borders without gap or overlap, and the outlines alone depend
    on ``block_px``. Memory is bounded by one row of blocks and the regions that reach its lower edge.

    Args:
        labels: uint8 ``(height, width)``: class indices; background and undecided pixels make no region.
        confidence: uint8 of the same shape, 255 for 1.
        taxonomy: names the classes.
        mpp: microns per pixel of the labels, None where unknown.
        scale: pixels of the slide's finest page per pixel of the labels, across and down.
        offset: where the labels begin in the slide, in pixels of its finest page.
        smallest_px: regions of fewer pixels are left out.
        tolerance_px: as ``outlines.cut``; 0 keeps the outlines of the pixels.
        block_px: side of a block.

    Raises:
        ValueError: if the arrays have another type or shape.
        ConfigError: if packages of the extra ``wsi`` are not installed.
    """
    require_uint8("labels", labels, axes=2)
    require_uint8("confidences", confidence, axes=2)
    if labels.shape != confidence.shape:
        raise ValueError(f"labels {labels.shape} and confidences {confidence.shape} differ in shape")
    require("outlines of regions", "rasterio", "shapely")
    for region in _joined(labels, confidence, len(taxonomy), block_px, smallest_px, tolerance_px):
        if region.pixels >= smallest_px:
            yield Region(
                region.value,
                taxonomy.classes[region.value],
                _united(region.polygons, scale, offset),
                region.pixels,
                None if mpp is None else region.pixels * (mpp / 1000) ** 2,
                region.confidence_sum / (255 * region.pixels),
            )


def as_qupath(region: Region, taxonomy: Taxonomy) -> QuPathObject:
    """Return a region as an annotation of QuPath, its class by title and colour."""
    measurements = {"Pixels": float(region.pixels), "Mean confidence": region.mean_confidence}
    if region.area_mm2 is not None:
        measurements["Area mm^2"] = region.area_mm2
    return QuPathObject(
        region.geometry, taxonomy.titles[region.value], taxonomy.colours[region.value], measurements, "annotation"
    )


@dataclass
class _Growing:
    """A region of which more pieces may follow."""

    value: int
    pixels: int
    confidence_sum: int
    polygons: "list[Polygon]"


def _grown(piece: Piece, corner: tuple[int, int]) -> _Growing:
    import shapely

    polygon = shapely.transform(piece.polygon, lambda points: points + corner)
    return _Growing(piece.value, piece.pixels, piece.confidence_sum, [polygon])


class _Front:
    """The regions that can still grow, by key; keys that turned out to be one region lead to each other."""

    def __init__(self) -> None:
        self._growing: dict[int, _Growing] = {}
        self._leads_to: dict[int, int] = {}
        self._next = 1

    def add(self, block: CutBlock, corner: tuple[int, int]) -> NDArray[np.int64]:
        """Take the pieces on a block's frame and return the key of each number."""
        keys = np.zeros(int(block.numbers.max()) + 1, np.int64)
        for piece in block.pieces:
            if piece.on_frame:
                self._growing[self._next] = _grown(piece, corner)
                self._leads_to[self._next] = keys[piece.number] = self._next
                self._next += 1
        return keys

    def join(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> None:
        """Unite regions along a border of blocks where both sides, pixel by pixel, are of one class."""
        pairs = np.unique(np.stack([first, second])[:, (first > 0) & (second > 0)], axis=1)
        for one, other in pairs.T.tolist():
            kept, taken = self._key(one), self._key(other)
            if kept == taken or self._growing[kept].value != self._growing[taken].value:
                continue
            if len(self._growing[kept].polygons) < len(self._growing[taken].polygons):
                kept, taken = taken, kept
            part = self._growing.pop(taken)
            whole = self._growing[kept]
            whole.pixels += part.pixels
            whole.confidence_sum += part.confidence_sum
            whole.polygons += part.polygons
            self._leads_to[taken] = kept

    def complete(self, lower_edge: NDArray[np.int64]) -> tuple[list[_Growing], NDArray[np.int64]]:
        """Return the regions that do not reach the lower edge, and the edge with one key per region."""
        found, places = np.unique(lower_edge, return_inverse=True)
        current = [self._key(key) if key else 0 for key in found.tolist()]
        complete = [self._growing.pop(key) for key in sorted(set(self._growing) - set(current))]
        self._leads_to = {key: key for key in self._growing}
        return complete, np.array(current, np.int64)[places]

    def _key(self, key: int) -> int:
        path = []
        while self._leads_to[key] != key:
            path.append(key)
            key = self._leads_to[key]
        self._leads_to.update(dict.fromkeys(path, key))
        return key


def _joined(
    labels: SlideArray, confidence: SlideArray, classes: int, block_px: int, smallest_px: int, tolerance_px: float
) -> Iterator[_Growing]:
    front = _Front()
    width = labels.shape[1]
    above = np.zeros(width, np.int64)
    for blocks in rows_of_blocks(labels.shape, block_px):
        lower_edge = np.zeros(width, np.int64)
        left: NDArray[np.int64] | None = None
        for block in blocks:
            part = read_labels(labels, block)
            if not (part < classes).any():
                left = None
                continue
            sure = np.asarray(confidence[block.rows, block.columns])
            cut_block = cut(part, sure, classes, smallest_px=smallest_px, tolerance_px=tolerance_px)
            corner = block.columns.start, block.rows.start
            yield from (_grown(piece, corner) for piece in cut_block.pieces if not piece.on_frame)
            edges = _edges(cut_block, front.add(cut_block, corner))
            front.join(above[block.columns], edges.top)
            if left is not None:
                front.join(left, edges.left)
            left = edges.right
            lower_edge[block.columns] = edges.bottom
        complete, above = front.complete(lower_edge)
        yield from complete
    complete, _ = front.complete(np.zeros(width, np.int64))
    yield from complete


class _Edges(NamedTuple):
    """The keys of the pixels along a block's frame, 0 where there is no region."""

    top: Int64[np.ndarray, " width"]
    bottom: Int64[np.ndarray, " width"]
    left: Int64[np.ndarray, " height"]
    right: Int64[np.ndarray, " height"]


def _edges(block: CutBlock, keys: Int64[np.ndarray, " numbers"]) -> _Edges:
    numbers = block.numbers
    return _Edges(keys[numbers[0]], keys[numbers[-1]], keys[numbers[:, 0]], keys[numbers[:, -1]])


def _united(
    polygons: "list[Polygon]", scale: tuple[float, float], offset: tuple[float, float]
) -> "Polygon | MultiPolygon":
    import shapely

    whole = polygons[0] if len(polygons) == 1 else shapely.unary_union(polygons)
    if scale == (1.0, 1.0) and offset == (0.0, 0.0):
        return whole
    return shapely.transform(whole, lambda points: points * scale + offset)
