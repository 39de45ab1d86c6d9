"""One full look at a patch: decode image and mask, and note what is wrong with either."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from histoproto.errors import DataError
from histoproto.images import read_picture
from histoproto.masks import read_indices, unknown_values
from histoproto.taxonomy import Taxonomy


@dataclass(frozen=True)
class Complaint:
    """What is wrong with one file and what to do about it."""

    what: str
    fix: str


@dataclass(frozen=True)
class Look:
    """What decoding a patch tells; None where a file could not be read."""

    sha256: str | None
    """Of the image file."""
    mask_sha256: str | None
    image_complaint: Complaint | None = None
    mask_complaint: Complaint | None = None
    pixel_hash: bytes | None = None
    """Of the decoded RGB pixels and their shape, so that the same picture in two formats is found; None for an
    image of one colour, since two pieces of blank glass are no copies of each other."""
    size: tuple[int, int] | None = None
    """Width and height in pixels."""
    converted_from: str | None = None
    one_colour: bool = False


def look_at(image: Path, mask: Path | None, taxonomy: Taxonomy) -> Look:
    """Decode an image and its mask and return what there is to say about them; never raises for bad files."""
    look = Look(_sha256(image), None if mask is None else _sha256(mask))
    try:
        picture = read_picture(image)
    except DataError as error:
        complaint = _complaint(error, image)
    except Image.DecompressionBombError:
        complaint = Complaint("too large for a patch", "keep it out of the study and predict it as a slide")
    else:
        height_px, width_px = picture.rgb.shape[:2]
        blank = _is_of_one_colour(picture.rgb)
        return replace(
            look,
            pixel_hash=None if blank else _pixel_hash(picture.rgb),
            one_colour=blank,
            size=(width_px, height_px),
            converted_from=picture.converted_from,
            mask_complaint=_look_at_mask(mask, (width_px, height_px), taxonomy),
        )
    return replace(look, image_complaint=complaint, mask_complaint=_look_at_mask(mask, None, taxonomy))


def _is_of_one_colour(rgb: NDArray[np.uint8]) -> bool:
    first = rgb[0, 0]
    return bool((rgb[-1] == first).all()) and bool((rgb == first).all())


def _pixel_hash(rgb: NDArray[np.uint8]) -> bytes:
    height_px, width_px = rgb.shape[:2]
    return hashlib.blake2b(f"{width_px}x{height_px}".encode() + rgb.tobytes(), digest_size=16).digest()


def _sha256(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _look_at_mask(mask: Path | None, image_size: tuple[int, int] | None, taxonomy: Taxonomy) -> Complaint | None:
    if mask is None:
        return None
    try:
        indices = read_indices(mask)
    except DataError as error:
        return _complaint(error, mask)
    height_px, width_px = indices.shape
    if image_size is not None and (width_px, height_px) != image_size:
        return Complaint(
            f"mask of {width_px} x {height_px} px for an image of {image_size[0]} x {image_size[1]} px",
            "export the mask at the size of its image, without smoothing",
        )
    strange = unknown_values(indices, taxonomy)
    if strange:
        return Complaint(
            f"mask value {', '.join(map(str, strange))} is unknown",
            f"use 0..{len(taxonomy) - 1} for {', '.join(taxonomy.classes)}, {taxonomy.background} for background, "
            "255 for ignore",
        )
    return None


def _complaint(error: DataError, path: Path) -> Complaint:
    """Split a message of the form ``path: what is wrong; what to do``."""
    what, _, fix = str(error).removeprefix(f"{path}: ").rpartition("; ")
    return Complaint(what, fix)
