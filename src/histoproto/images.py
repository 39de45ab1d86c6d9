"""Reading photographs of tissue strictly: 8-bit RGB or a sentence that says why not."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from histoproto.errors import DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
"""File name endings that count as patches, lower case."""


class Picture(NamedTuple):
    """A decoded image and what had to be done to it."""

    rgb: NDArray[np.uint8]
    """Shape ``(height, width, 3)``, RGB, 0..255."""
    converted_from: str | None
    """Mode that was converted without loss (``L``, ``LA``, ``P``, opaque ``RGBA``), else None."""


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Return an image as RGB ``(height, width, 3)``, 0..255.

    Raises:
        DataError: as ``read_picture``.
    """
    return read_picture(path).rgb


def read_picture(path: Path) -> Picture:
    """Decode an image fully and convert grey, palette and opaque RGBA to RGB.

    Raises:
        DataError: if the file is missing, no image, truncated, deeper than 8 bits, or truly transparent.
    """
    try:
        with Image.open(path) as image:
            deep = any(";16" in str(tile.args) for tile in image.tile)  # Pillow would drop the lower 8 bits
            image.load()
            return _to_rgb(image, path, deep)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; was it moved after the import?") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: not an image, whatever its name says; remove or replace the file") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: cannot be decoded ({error}); copy the file again from its source") from None


def _to_rgb(image: Image.Image, path: Path, deep: bool) -> Picture:
    if deep or image.mode.startswith(("I", "F")):
        raise DataError(f"{path}: {image.mode} pixels of more than 8 bits per channel; save the image as 8-bit RGB")
    if image.mode == "RGB":
        return Picture(np.asarray(image), None)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
        if alpha.min() < 255:
            raise DataError(
                f"{path}: {np.mean(alpha < 255):.0%} of the pixels are transparent and so have no colour; "
                "flatten the image onto white and save it as RGB"
            )
    return Picture(np.asarray(image.convert("RGB")), image.mode)
