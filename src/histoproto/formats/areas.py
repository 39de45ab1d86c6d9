"""How much of each tissue a mask shows."""

from typing import TypedDict

import numpy as np
from jaxtyping import UInt8

from histoproto.taxonomy import Taxonomy


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
    counts = np.bincount(mask.ravel(), minlength=256)[: len(taxonomy)].tolist()
    tissue = sum(counts)
    pixel_mm2 = None if mpp is None else (mpp / 1000) ** 2
    return {
        name: Area(
            pixels=pixels,
            share=pixels / tissue if tissue else None,
            area_mm2=None if pixel_mm2 is None else pixels * pixel_mm2,
        )
        for name, pixels in zip(taxonomy.classes, counts, strict=True)
    }
