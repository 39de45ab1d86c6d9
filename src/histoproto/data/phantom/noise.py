"""Random fields that depend on a seed and a position alone.

Every number the phantom draws is a hash of a key and of integer lattice positions. Two windows on the same tissue
therefore agree wherever they overlap, whatever was rendered before: a slide can be written tile by tile, and a nucleus
on the border of two tiles is the same nucleus in both.
"""

from dataclasses import dataclass
from functools import reduce
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

Floats = NDArray[np.floating[Any]]
"""Fields and per-point values; float32 wherever they are large."""

Integers = NDArray[np.int64]

_SPLINE_VARIANCE = 151 / 315
"""Variance kept by cubic B-spline weights on one axis: the mean over all phases of their sum of squares."""

_QUADRATIC_DEVIATION = 11 / 20
"""Variance kept by quadratic B-spline weights on one axis, which is the standard deviation kept on two."""


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels on a plane measured in micrometres."""

    top_um: float
    left_um: float
    height_px: int
    width_px: int
    mpp: float

    @property
    def y_um(self) -> Floats:
        """Centres of the pixel rows, shape (height,), in micrometres."""
        return np.asarray(self.top_um + (np.arange(self.height_px) + 0.5) * self.mpp, dtype=np.float32)

    @property
    def x_um(self) -> Floats:
        """Centres of the pixel columns, shape (width,), in micrometres."""
        return np.asarray(self.left_um + (np.arange(self.width_px) + 0.5) * self.mpp, dtype=np.float32)

    def grown(self, margin_px: int) -> "Window":
        """The same window with `margin_px` more pixels on every side."""
        return Window(
            self.top_um - margin_px * self.mpp,
            self.left_um - margin_px * self.mpp,
            self.height_px + 2 * margin_px,
            self.width_px + 2 * margin_px,
            self.mpp,
        )


def key_of(seed: int, name: str) -> int:
    """A 64-bit key for one named stream of numbers under one seed."""
    return int.from_bytes(blake2b(f"{seed} {name}".encode(), digest_size=8).digest(), "little")


def hashed_uniform(key: int, rows: Integers, columns: Integers) -> Floats:
    """Uniform numbers in [0, 1) from positions; `rows` and `columns` broadcast to the shape of the result."""
    state = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state = state + columns.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F) + np.uint64(key)
    # The finaliser of splitmix64: it spreads every input bit over the word.
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    state = state ^ (state >> np.uint64(31))
    return (state >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def _unit_lattice(key: int, rows: Integers, columns: Integers) -> Floats:
    """Values of zero mean and unit variance on the lattice, shape (rows, columns)."""
    uniform = hashed_uniform(key, rows[:, None], columns[None, :])
    return (uniform - np.float32(0.5)) * np.float32(12**0.5)


def _taps(positions: Floats) -> tuple[Integers, list[Floats]]:
    """First of the four lattice nodes around each position, and the four cubic B-spline weights per position."""
    first = np.floor(positions).astype(np.int64) - 1
    t = (positions - np.floor(positions)).astype(np.float32)
    rest = 1 - t
    weights = [rest**2 * rest, (3 * t - 6) * t**2 + 4, (3 * rest - 6) * rest**2 + 4, t**2 * t]
    return first, [weight / np.float32(6) for weight in weights]


def smooth_noise(window: Window, key: int, scale_um: float) -> Floats:
    """Smooth noise of zero mean and unit variance on a window.

    Args:
        window: Where to evaluate it.
        key: Stream of random numbers, from `key_of`.
        scale_um: Distance of the lattice nodes; structures are about twice as wide.

    Returns:
        Array of shape (height, width).
    """
    first_row, row_weights = _taps(window.y_um / np.float32(scale_um))
    first_column, column_weights = _taps(window.x_um / np.float32(scale_um))
    lattice = _unit_lattice(
        key,
        np.arange(first_row[0], first_row[-1] + 4),
        np.arange(first_column[0], first_column[-1] + 4),
    ) / np.float32(_SPLINE_VARIANCE)
    # Four weighted sums in a fixed order, no matrix product: the same pixels in every window and on every machine.
    rows, columns = first_row - first_row[0], first_column - first_column[0]
    partial = reduce(np.add, (weight * lattice[:, columns + tap] for tap, weight in enumerate(column_weights)))
    return reduce(np.add, (weight[:, None] * partial[rows + tap] for tap, weight in enumerate(row_weights)))


def noise_at(key: int, rows: Floats, columns: Floats) -> Floats:
    """Smooth noise at free positions, given in lattice units; all three arrays have one shape."""
    if rows.size == 0:
        return np.zeros_like(rows)
    first_row = int(np.floor(rows.min())) - 2
    first_column = int(np.floor(columns.min())) - 2
    lattice = _unit_lattice(
        key,
        np.arange(first_row, int(np.ceil(rows.max())) + 3),
        np.arange(first_column, int(np.ceil(columns.max())) + 3),
    )
    values = map_coordinates(
        lattice, np.stack([rows - first_row, columns - first_column]), order=2, prefilter=False, mode="nearest"
    )
    return np.asarray(values, dtype=np.float32) / np.float32(_QUADRATIC_DEVIATION)
