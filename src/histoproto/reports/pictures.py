"""Pictures that travel inside the page: scaled down, coloured, as data URIs."""

import base64
import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from histoproto.errors import DataError
from histoproto.images import read_rgb
from histoproto.masks import read_indices
from histoproto.taxonomy import IGNORE, Colour, Taxonomy

IGNORE_COLOUR: Colour = (128, 128, 128)
"""How pixels that do not count are shown."""

CONFIDENCE_COLOURS = "viridis"
ACTIVATION_COLOURS = "inferno"
STRONGEST_TINT = 0.8
"""How much of the photograph the highest activation hides."""
MUTED = 0.25
"""How much of its colour the photograph keeps below an activation map."""


@dataclass(frozen=True)
class Picture:
    """A picture, or why there is none."""

    image: Image.Image | None
    problem: str = ""
    """Empty if there is a picture."""

    @property
    def uri(self) -> str:
        """The picture as ``data:image/...``: JPEG for photographs, PNG for maps; empty if there is none."""
        if self.image is None:
            return ""
        return _png(self.image) if self.image.mode == "P" else _jpeg(self.image)


def photograph(path: Path, side_px: int) -> Picture:
    """Return an RGB image, at most ``side_px`` on its longer side."""
    return or_problem(path, lambda: fit(Image.fromarray(read_rgb(path)), side_px))


def mask(path: Path, taxonomy: Taxonomy, side_px: int) -> Picture:
    """Return a mask in the taxonomy's colours, with ignored pixels grey."""

    def draw() -> Image.Image:
        image = Image.fromarray(read_indices(path))
        palette = taxonomy.palette
        palette[3 * IGNORE :] = IGNORE_COLOUR
        image.putpalette(palette)
        return fit(image, side_px, Image.Resampling.NEAREST)

    return or_problem(path, draw)


def confidence(path: Path, side_px: int) -> Picture:
    """Return a grey map in colours, dark for 0 and bright for 255."""

    def draw() -> Image.Image:
        image = fit(Image.fromarray(read_indices(path)), side_px)
        image.putpalette(_table(CONFIDENCE_COLOURS).ravel().tolist())
        return image

    return or_problem(path, draw)


def fit(image: Image.Image, side_px: int, how: Image.Resampling = Image.Resampling.BOX) -> Image.Image:
    """Return the image scaled down, never up."""
    factor = side_px / max(image.size)
    if factor >= 1:
        return image
    width, height = (max(1, round(factor * side)) for side in image.size)
    return image.resize((width, height), how)


def value_range(paths: Sequence[Path]) -> tuple[int, int]:
    """Return the lowest and the highest value of those grey maps that can be read, 0 and 255 if none can."""
    bounds: list[int] = []
    for path in paths:
        with contextlib.suppress(DataError):
            values = read_indices(path)
            bounds += [int(values.min()), int(values.max())]
    return (min(bounds), max(bounds)) if bounds else (0, 255)


def activation(path: Path, photograph_path: Path, side_px: int, low: int, high: int) -> Picture:
    """Return a grey activation map as a glow over its patch, whose own colours are muted.

    Args:
        path: the map, 0..255.
        photograph_path: the patch.
        side_px: longest side of the picture.
        low: value without any glow.
        high: value with the brightest glow.
    """

    def draw() -> Image.Image:
        below = fit(Image.fromarray(read_rgb(photograph_path)), side_px)
        values = np.asarray(Image.fromarray(read_indices(path)).resize(below.size, Image.Resampling.BILINEAR))
        return glowing(below, (values.astype(np.float64) - low) / max(high - low, 1))

    return or_problem(path, draw)


def glowing(below: Image.Image, glow: NDArray[np.floating]) -> Image.Image:
    """Return a photograph, muted, under a glow.

    Args:
        below: RGB.
        glow: 0 none .. 1 brightest, cut off outside, of the photograph's height and width.
    """
    share = glow.clip(0, 1)
    tint = STRONGEST_TINT * share[..., None]
    muted = np.asarray(ImageEnhance.Color(below).enhance(MUTED))
    mixed = (1 - tint) * muted + tint * _table(ACTIVATION_COLOURS)[(255 * share).astype(np.uint8)]
    return Image.fromarray(mixed.round().astype(np.uint8))


def embedded(image: Image.Image) -> Picture:
    """Return a picture that was drawn elsewhere."""
    return Picture(image)


def scale(name: str) -> str:
    """Return the CSS gradient of a colour table, low to high."""
    stops = ", ".join(f"rgb({r} {g} {b})" for r, g, b in _table(name)[::51].tolist())
    return f"linear-gradient(to right, {stops})"


def _table(name: str) -> NDArray[np.uint8]:
    """Return 256 RGB colours, shape ``(256, 3)``."""
    table: NDArray[np.uint8] = colormaps[name](np.arange(256), bytes=True)[:, :3]
    return table


def _jpeg(image: Image.Image) -> str:
    return _uri(image, "JPEG", quality=85, optimize=True)


def _png(image: Image.Image) -> str:
    return _uri(image, "PNG", optimize=True)


def _uri(image: Image.Image, kind: str, **options: int) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def or_problem(path: Path, draw: Callable[[], Image.Image]) -> Picture:
    """Return the picture, or the sentence that says why it cannot be drawn."""
    try:
        return Picture(draw())
    except DataError as error:
        return Picture(None, str(error).replace(str(path), path.name))
