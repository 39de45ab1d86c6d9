"""How much of each tissue a mask, a slide or a region of it shows."""

import csv
from collections.abc import Iterable, Mapping
from io import StringIO
from pathlib import Path
from typing import TypedDict

import numpy as np
from jaxtyping import Int64, UInt8

from histoproto.atomic import write_text
from histoproto.taxonomy import IGNORE, Taxonomy

UNDECIDED = "undecided"
"""Row of a table for pixels of no class."""
COLUMNS = ("region", "class", "pixels", "area_mm2", "share")


class Area(TypedDict):
    """The area of one class."""

    pixels: int
    share: float | None
    """Of all pixels of any class, 0..1; None where the mask has none. Background and ignored pixels are no tissue."""
    area_mm2: float | None
    """Square millimetres; None where the size of a pixel is unknown."""


def class_areas(mask: UInt8[np.ndarray, "height width"], taxonomy: Taxonomy, mpp: float | None) -> dict[str, Area]:
    """Return the area of each class by its short name, in class order, ready for JSON.

    Args:
        mask: class indices, the taxonomy's background value, or 255.
        taxonomy: names the classes.
        mpp: microns per pixel of the mask, None where unknown.
    """
    return areas_of_counts(np.bincount(mask.ravel(), minlength=256), taxonomy, mpp)


def areas_of_counts(counts: Int64[np.ndarray, "256"], taxonomy: Taxonomy, mpp: float | None) -> dict[str, Area]:
    """Return the area of each class from the number of pixels of each mask value, as ``class_areas``."""
    classes = counts[: len(taxonomy)].tolist()
    tissue = sum(classes)
    return {
        name: _area(pixels, pixels / tissue if tissue else None, mpp)
        for name, pixels in zip(taxonomy.classes, classes, strict=True)
    }


def with_undecided(areas: Mapping[str, Area], counts: Int64[np.ndarray, "256"], mpp: float | None) -> dict[str, Area]:
    """Return areas with a row for pixels of no class (255), most of which could not be read; none if there are none."""
    pixels = int(counts[IGNORE])
    return {**areas, UNDECIDED: _area(pixels, None, mpp)} if pixels else dict(areas)


def _area(pixels: int, share: float | None, mpp: float | None) -> Area:
    return Area(pixels=pixels, share=share, area_mm2=None if mpp is None else pixels * (mpp / 1000) ** 2)


def write_areas(path: Path, areas: Iterable[tuple[str, Mapping[str, Area]]]) -> None:
    """Write a CSV table with one row per region and class, atomically; what is unknown is left empty.

    Args:
        path: ends in ``.csv``.
        areas: name of each region, or of the slide, and its areas by class.
    """
    table = StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(COLUMNS)
    for region, classes in areas:
        for name, area in classes.items():
            rows.writerow((region, name, area["pixels"], _number(area["area_mm2"]), _number(area["share"])))
    write_text(path, table.getvalue())


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.9g}"
