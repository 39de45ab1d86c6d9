"""Drawings: inside the page as SVG in the page's own colours, as files in the colours of paper."""

import io
import re
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from histoproto.atomic import replacing, write_text
from histoproto.taxonomy import Colour

TEXT, RULE, FIRST, SECOND = "#1c2328", "#d9dee2", "#2b6cb0", "#c05f12"
"""What is drawn with: the page's colours in daylight."""
PAGE_COLOURS = {TEXT: "currentColor", RULE: "var(--rule)", FIRST: "var(--accent)", SECOND: "var(--second)"}
"""What the page puts in their place, so that drawings follow it into the dark."""

LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
"""Of light of the three primaries of sRGB."""
LUMINANCE_RANGE = (0.13, 0.295)
"""Colours in it have a contrast of at least 3 (WCAG 2) to the page in daylight and in the dark."""

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "histoproto",
    "text.parse_math": False,
    "font.size": 9,
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "axes.edgecolor": RULE,
    "axes.titlecolor": TEXT,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": TEXT,
    "ytick.labelcolor": TEXT,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}
DOTS_PER_INCH = 200
"""Of the files for texts and slides."""
NOTHING = dict.fromkeys(("Creator", "Date", "Format", "Type"))
"""Metadata that is left out, so that the same figures give the same file."""


@dataclass(frozen=True)
class Drawing:
    """A finished drawing."""

    name: str
    """Of its files, without ending."""
    description: str
    """What it shows, in words."""
    figure: Figure

    @property
    def inline(self) -> str:
        """The drawing as an SVG element without prolog, metadata and name spaces, which HTML does not need."""
        text = self._svg(transparent=True)
        text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text[text.index("<svg") :])
        for colour, of_page in PAGE_COLOURS.items():
            text = text.replace(colour, of_page)
        return text.replace("<svg ", f'<svg role="img" aria-label="{escape(self.description)}" ', 1)

    def write(self, folder: Path) -> list[Path]:
        """Write the drawing as SVG and PNG on white, and return the files."""
        svg, png = (folder / f"{self.name}.{ending}" for ending in ("svg", "png"))
        write_text(svg, self._svg(transparent=False))
        with mpl.rc_context(STYLE), replacing(png) as temporary:
            self.figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH, facecolor="white")
        return [svg, png]

    def _svg(self, *, transparent: bool) -> str:
        buffer = io.StringIO()
        with mpl.rc_context(STYLE):
            self.figure.savefig(buffer, format="svg", transparent=transparent, metadata=NOTHING)
        return buffer.getvalue()


def legible(colour: Colour) -> str:
    """Return a colour of its hue that can be seen as a line on a white and on a dark page, as ``#rrggbb``."""
    light = _linear(np.array(colour) / 255)
    luminance = float(light @ LUMINANCE)
    low, high = LUMINANCE_RANGE
    if luminance > high:
        light = light * high / luminance
    elif luminance < low:
        light = light + (1 - light) * (low - luminance) / (1 - luminance)
    return "#" + "".join(f"{round(255 * value):02x}" for value in _encoded(light))


def _linear(srgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return light from sRGB values 0..1."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def _encoded(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sRGB values 0..1 from light."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
