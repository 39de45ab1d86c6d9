"""Maps of a slide on disk, written block by block; what is never written takes no room."""

import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import zarr
from jaxtyping import UInt8
from zarr.codecs import ZstdCodec

from histoproto.slides.blend import BAND_ROWS
from histoproto.slides.samples import SAMPLE_PX, samples

ROWS, COLUMNS = BAND_ROWS, 2048
"""Of a chunk: the rows of a block of a prediction, so that hardly any chunk is packed twice."""
SAMPLED_ROWS = 64
"""Of a chunk of probabilities, which have a quarter of the rows; fewer would make too many files."""

Bytes2: TypeAlias = UInt8[np.ndarray, "rows columns"]
Bytes3: TypeAlias = UInt8[np.ndarray, "classes rows columns"]
Placed: TypeAlias = tuple[int, int, Bytes2, Bytes2, Bytes3]
"""A block as ``Canvas.write`` takes it: first row, first column, labels, confidence, probabilities."""


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
        self.labels = _array(folder / "labels", size, (ROWS, COLUMNS), classes)
        """``(height, width)``; class indices, ``classes`` for background, 255 for undecided."""
        self.confidence = _array(folder / "confidence", size, (ROWS, COLUMNS), 0)
        """``(height, width)``; 255 for 1."""
        self.probabilities = _array(folder / "probabilities", sampled, (1, SAMPLED_ROWS, COLUMNS), 0)
        """``(classes, height / 4, width / 4)``; 255 for 1."""

    def write_all(self, blocks: Iterable[Placed]) -> None:
        """Write blocks, each while the next one is being made; arguments of each and errors as ``write``."""
        writing: Future[None] | None = None
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="write-maps") as writer:
            try:
                for block in blocks:
                    if writing is not None:
                        writing.result()
                    writing = writer.submit(self.write, *block)
            finally:  # also where the next block could not be made: a full disk may be why
                if writing is not None:
                    writing.result()

    def write(
        self,
        y_px: int,
        x_px: int,
        labels: UInt8[np.ndarray, "height width"],
        confidence: UInt8[np.ndarray, "height width"],
        probabilities: UInt8[np.ndarray, "classes rows columns"],
    ) -> None:
        """Write a block.

        Args:
            y_px: its first row.
            x_px: its first column.
            labels: of its pixels.
            confidence: of its pixels.
            probabilities: of those of its pixels that ``samples`` names.

        Raises:
            OSError: if the disk is full.
        """
        height, width = labels.shape
        place = slice(y_px, y_px + height), slice(x_px, x_px + width)
        self.labels[place] = labels
        self.confidence[place] = confidence
        if probabilities.size:
            row, column = samples(y_px, height)[0] // SAMPLE_PX, samples(x_px, width)[0] // SAMPLE_PX
            _, rows, columns = probabilities.shape
            self.probabilities[:, row : row + rows, column : column + columns] = probabilities


@contextmanager
def canvas(folder: Path, height_px: int, width_px: int, classes: int) -> Iterator[Canvas]:
    """Yield an empty canvas, whose files are removed afterwards; what a killed process left there goes first."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield Canvas(folder, height_px, width_px, classes)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _array(folder: Path, shape: tuple[int, ...], chunks: tuple[int, ...], fill: int) -> Any:
    packed = ZstdCodec(level=1)
    return zarr.create_array(folder, shape=shape, chunks=chunks, dtype="uint8", fill_value=fill, compressors=packed)
