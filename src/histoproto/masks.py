"""Masks: palette PNGs whose pixel values are class indices, never colours."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from histoproto.atomic import replacing
from histoproto.errors import DataError
from histoproto.taxonomy import IGNORE, Taxonomy


def read_indices(path: Path) -> NDArray[np.uint8]:
    """Return the stored palette indices, shape ``(height, width)``, without looking at the colours.

    Raises:
        DataError: if the file is missing, undecodable, or neither palette nor 8-bit grey.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L"):
                raise DataError(
                    f"{path}: mask of mode {image.mode}; a mask is an indexed (palette) PNG or 8-bit grey "
                    "whose values are class numbers"
                )
            return np.array(image, dtype=np.uint8)
    except FileNotFoundError:
        raise DataError(f"{path}: no such mask; every image of a split with masks needs one") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: not an image, whatever its name says; replace the mask") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: cannot be decoded ({error}); copy the mask again from its source") from None


def unknown_values(indices: NDArray[np.uint8], taxonomy: Taxonomy) -> list[int]:
    """Return the sorted values that are neither class, background nor ignore (255)."""
    return [int(value) for value in np.unique(indices) if taxonomy.background < value < IGNORE]


def read_mask(path: Path, taxonomy: Taxonomy) -> NDArray[np.uint8]:
    """Return class indices ``(height, width)`` that are known to fit the taxonomy.

    Raises:
        DataError: as ``read_indices``, and if a value is unknown.
    """
    indices = read_indices(path)
    strange = unknown_values(indices, taxonomy)
    if strange:
        raise DataError(
            f"{path}: mask value {', '.join(map(str, strange))} is unknown; {taxonomy.name} has "
            f"0..{len(taxonomy) - 1} for {', '.join(taxonomy.classes)}, {taxonomy.background} for background "
            f"and {IGNORE} for ignore"
        )
    return indices


def write_mask(path: Path, indices: NDArray[np.uint8], taxonomy: Taxonomy) -> None:
    """Write an indexed PNG with the taxonomy's palette, atomically.

    Args:
        path: where to.
        indices: ``(height, width)``, values 0..len(classes) (background) or 255.
        taxonomy: gives the palette.
    """
    image = Image.fromarray(np.ascontiguousarray(indices))
    image.putpalette(taxonomy.palette)
    with replacing(path) as temporary:
        image.save(temporary, format="PNG", optimize=False)
