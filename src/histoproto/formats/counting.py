"""Pixels of each value in labels of any size, counted block by block: over all of them, or within polygons."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Int64

from histoproto.formats.arrays import Block, SlideArray, read_labels, require_uint8, rows_of_blocks
from histoproto.formats.slide_packages import require

if TYPE_CHECKING:
    from shapely import MultiPolygon, Polygon

BLOCK_PX = 2048


def count_values(labels: SlideArray, block_px: int = BLOCK_PX) -> Int64[np.ndarray, "256"]:
    """Return how many pixels have each value.

    Args:
        labels: uint8 ``(height, width)``.
        block_px: side of a block.

    Raises:
        ValueError: if the labels have another type or shape.
    """
    require_uint8("labels", labels, axes=2)
    counts = np.zeros(256, np.int64)
    for blocks in rows_of_blocks(labels.shape, block_px):
        for block in blocks:
            values = read_labels(labels, block)
            first = values[0, 0]
            if (values == first).all():  # most of a slide is background; counting takes ten times as long
                counts[first] += values.size
            else:
                counts += np.bincount(values.ravel(), minlength=256)
    return counts


def count_within(
    labels: SlideArray,
    polygons: "Sequence[Polygon | MultiPolygon]",
    *,
    scale: tuple[float, float] = (1.0, 1.0),
    offset: tuple[float, float] = (0.0, 0.0),
    block_px: int = BLOCK_PX,
) -> Int64[np.ndarray, "polygons 256"]:
    """Return how many pixels of each value lie in each polygon; a pixel lies where its centre does.

    Polygons may overlap; what reaches beyond the labels is not counted. Blocks that no polygon touches are not read.

    Args:
        labels: uint8 ``(height, width)``.
        polygons: in pixels of the slide's finest page.
        scale: pixels of the finest page per pixel of the labels, across and down.
        offset: where the labels begin in the slide, in pixels of its finest page.
        block_px: side of a block.

    Raises:
        ValueError: if the labels have another type or shape.
        ConfigError: if packages of the extra ``wsi`` are not installed.
    """
    require_uint8("labels", labels, axes=2)
    require("counting within regions", "rasterio", "shapely")
    import shapely

    placed = [shapely.transform(polygon, lambda points: (points - offset) / scale) for polygon in polygons]
    counts = np.zeros((len(placed), 256), np.int64)
    for blocks in rows_of_blocks(labels.shape, block_px):
        for block in blocks:
            frame = shapely.box(block.columns.start, block.rows.start, block.columns.stop, block.rows.stop)
            touching = [number for number, polygon in enumerate(placed) if polygon.intersects(frame)]
            if not touching:
                continue
            values = read_labels(labels, block)
            for number in touching:
                counts[number] += np.bincount(values[_inside(placed[number], block)], minlength=256)
    return counts


def _inside(polygon: "Polygon | MultiPolygon", block: Block) -> Bool[np.ndarray, "height width"]:
    from rasterio.features import rasterize
    from rasterio.transform import Affine

    shape = (block.rows.stop - block.rows.start, block.columns.stop - block.columns.start)
    corner: Any = Affine.translation(block.columns.start, block.rows.start)
    return np.asarray(rasterize([polygon], out_shape=shape, transform=corner, dtype=np.uint8)).astype(bool)
