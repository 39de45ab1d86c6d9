"""Arrays of a whole slide: too large for memory, read block by block."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@runtime_checkable
class SlideArray(Protocol):
    """What a zarr array and an ndarray have in common: slicing reads a part as an ndarray."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of elements along each axis."""

    @property
    def dtype(self) -> Any:
        """Type of the elements."""

    def __getitem__(self, key: Any) -> Any:
        """Read a part."""


class Block(NamedTuple):
    """A rectangle of an array; the slices stay within it."""

    rows: slice
    columns: slice


def rows_of_blocks(shape: tuple[int, ...], block_px: int) -> Iterator[list[Block]]:
    """Yield the blocks of an array ``(height, width)``, row by row from the top, each row from left to right."""
    height, width = shape
    for top in range(0, height, block_px):
        rows = slice(top, min(top + block_px, height))
        yield [Block(rows, slice(left, min(left + block_px, width))) for left in range(0, width, block_px)]


def read_labels(labels: SlideArray, block: Block) -> NDArray[np.uint8]:
    """Read a block of class indices."""
    return np.asarray(labels[block.rows, block.columns])


def require_uint8(what: str, array: SlideArray, axes: int) -> None:
    """Check the type and the number of axes.

    Raises:
        ValueError: if they are others.
    """
    if np.dtype(array.dtype) != np.uint8 or len(array.shape) != axes:
        raise ValueError(f"{what} are uint8 with {axes} axes, not {array.dtype} with shape {array.shape}")
