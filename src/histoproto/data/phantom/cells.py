"""Cells and debris: where they lie, what shape they have, and how they are stamped onto a canvas."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histoproto.data.phantom.noise import Floats, Integers, Window, hashed_uniform, key_of


@dataclass(frozen=True)
class Places:
    """Points of a jittered hexagonal lattice; each keeps its lattice position, so more can be drawn for it."""

    seed: int
    name: str
    rows: Integers
    columns: Integers
    y_um: Floats
    x_um: Floats

    def __len__(self) -> int:
        return len(self.rows)

    def draw(self, what: str, low: float = 0.0, high: float = 1.0) -> Floats:
        """One uniform number in [low, high) per point, shape (points,)."""
        uniform = hashed_uniform(key_of(self.seed, f"{self.name} {what}"), self.rows, self.columns)
        return np.float32(low) + np.float32(high - low) * uniform

    def where(self, chosen: NDArray[np.bool_]) -> "Places":
        """The points for which `chosen`, boolean of shape (points,), holds."""
        return Places(
            self.seed,
            self.name,
            self.rows[chosen],
            self.columns[chosen],
            self.y_um[chosen],
            self.x_um[chosen],
        )


def scatter(window: Window, seed: int, name: str, spacing_um: float, jitter: float) -> Places:
    """Points over a window, one per cell of a hexagonal lattice, moved by up to `jitter` spacings."""
    pitch_um = spacing_um * 0.93
    rows = np.arange(np.floor(window.y_um[0] / pitch_um) - 1, np.ceil(window.y_um[-1] / pitch_um) + 2)
    columns = np.arange(np.floor(window.x_um[0] / spacing_um) - 2, np.ceil(window.x_um[-1] / spacing_um) + 2)
    grid_rows, grid_columns = (grid.ravel().astype(np.int64) for grid in np.meshgrid(rows, columns, indexing="ij"))
    unmoved = Places(seed, name, grid_rows, grid_columns, np.empty(0, np.float32), np.empty(0, np.float32))
    y_um = (grid_rows + unmoved.draw("down", -jitter, jitter)) * pitch_um
    x_um = (grid_columns + 0.5 * (grid_rows % 2) + unmoved.draw("right", -jitter, jitter)) * spacing_um
    inside = (y_um >= window.y_um[0]) & (y_um <= window.y_um[-1]) & (x_um >= window.x_um[0]) & (x_um <= window.x_um[-1])
    return Places(
        seed,
        name,
        grid_rows[inside],
        grid_columns[inside],
        y_um[inside].astype(np.float32),
        x_um[inside].astype(np.float32),
    )


@dataclass(frozen=True)
class Outline:
    """Shapes of stamps, each field of shape (points,): an ellipse with two and three lobes, and a bend."""

    long_um: Floats
    wide_um: Floats
    angle: Floats
    lobes: Floats
    phase: Floats
    bend: Floats

    @property
    def reach_um(self) -> float:
        """No stamp goes further from its centre than this."""
        size_um = np.maximum(self.long_um + self.bend_um, self.wide_um + self.bend_um)
        return float((size_um * (1 + 1.5 * self.lobes)).max()) + 0.5

    @property
    def bend_um(self) -> Floats:
        """How far the bend moves the tips sideways, shape (points,)."""
        return np.asarray(np.abs(self.bend) * 0.6 * self.wide_um, dtype=np.float32)


@dataclass(frozen=True)
class Stamps:
    """Stamps of n points: flat canvas positions and the radius inside each stamp."""

    pixels: Integers
    """Flat index into the canvas, shape (n, side, side)."""
    radius: Floats
    """0 at the centre, 1 on the outline, shape (n, side, side)."""
    edge: Floats
    """Cover of the pixel by the stamp, 0 to 1, shape (n, side, side)."""


class Canvas:
    """Where stamps are pressed: a window with a margin wide enough for stamps that only reach into it."""

    def __init__(self, window: Window, margin_px: int) -> None:
        """Make a canvas for `window`; stamps may lie up to `margin_px` outside."""
        self.window = window
        self.margin_px = margin_px
        self.grown = window.grown(margin_px)

    def stamps(self, places: Places, outline: Outline) -> Stamps:
        """Lay the outlines at the places; what hangs over the canvas is folded onto its rim, which is cut off later."""
        mpp = self.grown.mpp
        half_px = int(np.ceil(outline.reach_um / mpp))
        offsets = np.arange(-half_px, half_px + 1)
        row = np.floor((places.y_um - self.grown.top_um) / mpp).astype(np.int64)
        column = np.floor((places.x_um - self.grown.left_um) / mpp).astype(np.int64)
        rows = row[:, None] + offsets
        columns = column[:, None] + offsets
        rows_um = (rows + 0.5) * mpp + self.grown.top_um - places.y_um[:, None]
        columns_um = (columns + 0.5) * mpp + self.grown.left_um - places.x_um[:, None]
        down, right = rows_um.astype(np.float32)[:, :, None], columns_um.astype(np.float32)[:, None, :]
        cosine, sine = (f(outline.angle)[:, None, None] for f in (np.cos, np.sin))
        long, wide = outline.long_um[:, None, None], outline.wide_um[:, None, None]
        along = (right * cosine + down * sine) / long
        across = (down * cosine - right * sine) / wide
        across = across + outline.bend[:, None, None] * (along**2 - 0.4)
        radius = np.sqrt(along**2 + across**2) + np.float32(1e-6)
        u, v = along / radius, across / radius
        cosine_phase, sine_phase = (f(outline.phase)[:, None, None] for f in (np.cos, np.sin))
        four = 4 * (u * u)
        # Two and three lobes: cosine and sine of twice and three times the polar angle.
        lobed = u * (four - 3) * cosine_phase + v * (four - 1) * sine_phase
        lobed += (0.5 * four - 1) * sine_phase + 2 * u * v * cosine_phase
        radius = radius / (1 + outline.lobes[:, None, None] * lobed)
        edge = np.clip((1 - radius) * np.minimum(long, wide) / np.float32(0.6) + np.float32(0.5), 0, 1)
        rows = rows.clip(0, self.grown.height_px - 1)
        columns = columns.clip(0, self.grown.width_px - 1)
        pixels = rows[:, :, None] * self.grown.width_px + columns[:, None, :]
        return Stamps(pixels=pixels, radius=radius, edge=edge)

    def press(self, stamps: Stamps, values: Floats) -> Floats:
        """Largest value that any stamp has at each pixel of the window, at least 0; shape (height, width).

        Args:
            stamps: Where the stamps lie.
            values: What they carry, shape (n, side, side).
        """
        sheet = np.zeros((self.grown.height_px, self.grown.width_px), dtype=np.float32)
        np.maximum.at(sheet.reshape(-1), stamps.pixels.ravel(), values.ravel())
        margin = self.margin_px
        return sheet[margin : margin + self.window.height_px, margin : margin + self.window.width_px]
