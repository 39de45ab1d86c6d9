"""Maps of a slide on disk, written block by block; what is never written takes no room."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from jaxtyping import UInt8
from zarr.codecs import ZstdCodec

CHUNK_PX = 512
SAMPLE_PX = 4
"""Probabilities are kept for every fourth pixel across and down: class maps are no finer than that."""


class Canvas:
    """Class indices, confidences and probabilities of a slide.

    Args:
        folder: receives the files.
        height_px: height of the slide at the resolution of the maps.
        width_px: its width.
        classes: how many there are; also the value of what is never written, background.
    """

    def __init__(self, folder: Path, height_px: int, width_px: int, classes: int) -> None:
        size = height_px, width_px
        sampled = classes, -(-height_px // SAMPLE_PX), -(-width_px // SAMPLE_PX)
        self.labels = _array(folder / "labels", size, classes)
        """``(height, width)``; class indices, ``classes`` for background, 255 for undecided."""
        self.confidence = _array(folder / "confidence", size, 0)
        """``(height, width)``; 255 for 1."""
        self.probabilities = _array(folder / "probabilities", sampled, 0)
        """``(classes, height / 4, width / 4)``; 255 for 1."""

    def write(
        self,
        y_px: int,
        x_px: int,
        labels: UInt8[np.ndarray, "height width"],
        confidence: UInt8[np.ndarray, "height width"],
        shares: UInt8[np.ndarray, "classes height width"],
    ) -> None:
        """Write a block.

        Raises:
            OSError: if the disk is full.
        """
        height, width = labels.shape
        place = slice(y_px, y_px + height), slice(x_px, x_px + width)
        self.labels[place] = labels
        self.confidence[place] = confidence
        rows, columns = _samples(y_px, height), _samples(x_px, width)
        if rows.size and columns.size:
            target = slice(rows[0] // SAMPLE_PX, rows[-1] // SAMPLE_PX + 1)
            across = slice(columns[0] // SAMPLE_PX, columns[-1] // SAMPLE_PX + 1)
            self.probabilities[:, target, across] = shares[:, rows - y_px][:, :, columns - x_px]


@contextmanager
def canvas(folder: Path, height_px: int, width_px: int, classes: int) -> Iterator[Canvas]:
    """Yield an empty canvas, whose files are removed afterwards; what a killed process left there goes first."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield Canvas(folder, height_px, width_px, classes)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _samples(start_px: int, length_px: int) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Return the first of every four pixels, counted from the slide's corner, that lie in a range."""
    return np.arange(-(-start_px // SAMPLE_PX) * SAMPLE_PX, start_px + length_px, SAMPLE_PX)


def _array(folder: Path, shape: tuple[int, ...], fill: int) -> Any:
    chunks = (*[1] * (len(shape) - 2), CHUNK_PX, CHUNK_PX)
    packed = ZstdCodec(level=1)
    return zarr.create_array(folder, shape=shape, chunks=chunks, dtype="uint8", fill_value=fill, compressors=packed)
