"""Which tissue lies where: one smooth potential per class, the largest one wins."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histoproto.data.phantom.noise import Floats, Window, key_of, smooth_noise

TUMOUR, STROMA, LYMPHOCYTES, NECROSIS, WHITE = range(5)
CLASS_NAMES = ("TUM", "STR", "LYM", "NEC")
N_AREAS = 5
"""The four tissues and the white background."""

_BIAS = (0.12, 0.18, 0.02, 0.0, -1.05)
"""Added to the potentials, so that tumour and stroma are somewhat commoner and white is rare."""

_FRAY = 0.13
"""Height of the fine noise on the potentials: tissues interdigitate by a few micrometres at their borders."""

_SOFTNESS = 0.035
"""Temperature of the softmax that mixes tissues at a border; about 2 micrometres of transition."""

_GLASS, _FAR_OUTSIDE = 60.0, 0.2
"""Slope of white's potential out of a section, and a distance where it surely exceeds every tissue's."""


@dataclass(frozen=True)
class Section:
    """Outline of a tissue section on a slide: a wavy ellipse with a tumour mass in it."""

    centre_um: tuple[float, float]
    radii_um: tuple[float, float]
    mass_centre_um: tuple[float, float]
    mass_radius_um: float


@dataclass(frozen=True)
class Layout:
    """Arrangement of tissues on an endless plane, or inside a section.

    Attributes:
        seed: Two layouts with one seed are the same layout.
        region_um: Typical width of a region of one tissue.
        present: Areas that may occur, 0 to 4.
        section: Outline of the tissue; None covers the whole plane.
    """

    seed: int
    region_um: float
    present: tuple[int, ...] = tuple(range(N_AREAS))
    section: Section | None = None

    def potentials(self, window: Window) -> Floats:
        """Potential of each area, shape (5, height, width); the largest one at a pixel names its tissue."""
        result = np.full((N_AREAS, window.height_px, window.width_px), -100.0, dtype=np.float32)
        outside = None if self.section is None else self._outside(window, self.section)
        if outside is not None and outside.min() > _FAR_OUTSIDE:
            result[WHITE] = _GLASS * outside
            return result
        for area in self.present:
            coarse = smooth_noise(window, key_of(self.seed, f"region {area}"), self.region_um / 2)
            fray = smooth_noise(window, key_of(self.seed, f"fray {area}"), 4.0)
            result[area] = coarse + _FRAY * fray + np.float32(_BIAS[area])
        if TUMOUR in self.present and WHITE in self.present:
            lumen = smooth_noise(window, key_of(self.seed, "lumen"), 11.0) - np.float32(2.3)
            # A gland's lumen opens only well inside a nest.
            inside = np.minimum(result[TUMOUR] - 0.4, lumen + result[TUMOUR])
            result[WHITE] = np.maximum(result[WHITE], inside)
        if self.section is not None and outside is not None:
            self._shape(result, window, self.section)
            result[WHITE] = np.maximum(result[WHITE] - 0.5, _GLASS * outside)
        return result

    def _outside(self, window: Window, section: Section) -> Floats:
        """Below 0 inside the section's outline, above 0 outside; 1 is about one radius."""
        y_um, x_um = window.y_um[:, None], window.x_um[None, :]
        down = (y_um - section.centre_um[0]) / section.radii_um[0]
        right = (x_um - section.centre_um[1]) / section.radii_um[1]
        outline = smooth_noise(window, key_of(self.seed, "outline"), min(section.radii_um) / 3)
        return np.asarray(np.sqrt(down**2 + right**2) + 0.09 * outline - 1, dtype=np.float32)

    def _shape(self, potentials: Floats, window: Window, section: Section) -> None:
        """Move the tissues of a section to where they belong."""
        y_um, x_um = window.y_um[:, None], window.x_um[None, :]
        distance_um = np.hypot(y_um - section.mass_centre_um[0], x_um - section.mass_centre_um[1])
        lobes = smooth_noise(window, key_of(self.seed, "lobes"), section.mass_radius_um / 3)
        depth = 1 - distance_um / section.mass_radius_um + 0.25 * lobes
        # Tumour inside its mass, necrosis in the core, lymphocytes along the invasive front, stroma around.
        potentials[TUMOUR] += 2.2 * np.clip(depth, -0.9, 0.4)
        potentials[NECROSIS] += np.clip(3.2 * (depth - 0.35), -2.5, 1.2)
        potentials[LYMPHOCYTES] += 0.7 - 3.0 * np.abs(np.clip(depth, -0.8, 0.8) + 0.1)
        potentials[STROMA] += 0.5 * np.clip(-depth, -0.5, 1.0)


def mask_of(potentials: Floats) -> NDArray[np.uint8]:
    """Area with the largest potential, shape (height, width), values 0 to 4."""
    return np.asarray(potentials.argmax(axis=0), dtype=np.uint8)


def shares_of(potentials: Floats) -> Floats:
    """How much of each tissue a pixel holds, shape (5, height, width); the shares of a pixel sum to 1."""
    shares = np.exp((potentials - potentials.max(axis=0)) / np.float32(_SOFTNESS))
    return np.asarray(shares / shares.sum(axis=0), dtype=np.float32)
