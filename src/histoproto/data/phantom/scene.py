"""One window of a patient's tissue while it is put together: who lies where, and the ground between the nuclei."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histoproto.data.phantom.cells import Canvas, Places, scatter
from histoproto.data.phantom.layout import LYMPHOCYTES, NECROSIS, STROMA, TUMOUR, WHITE, Layout, mask_of, shares_of
from histoproto.data.phantom.noise import Floats, Window, key_of, noise_at, smooth_noise
from histoproto.data.phantom.patient import Patient

_MARGIN_UM = 16.0
"""No cell reaches further than this from its centre, so cells this far outside a window still show in it."""

_WHITE_HAEMATOXYLIN, _WHITE_EOSIN = 0.004, 0.012
"""Glass is not quite clean."""


@dataclass
class Stains:
    """Concentrations of both stains on a window, each of shape (height, width), 0 or more."""

    haematoxylin: Floats
    eosin: Floats

    def cover(self, share: Floats, haematoxylin: Floats | float, eosin: Floats | float) -> None:
        """Replace `share` (0 to 1) of what is there by material of the given concentrations."""
        self.haematoxylin += share * (haematoxylin - self.haematoxylin)
        self.eosin += share * (eosin - self.eosin)


class Scene:
    """What the parts of the tissue read and add to.

    Attributes:
        window: The pixels to be rendered.
        canvas: The window with a margin for cells that only reach into it.
        areas: Area of each canvas pixel before nuclei are placed.
        shares: Share of each area in each window pixel, shape (5, height, width).
        mask: Area of each window pixel, kept exact while nuclei are placed.
        stains: Concentrations so far.
    """

    def __init__(self, patient: Patient, layout: Layout, window: Window) -> None:
        """Lay the ground of `window`; nuclei are added by the parts."""
        self.patient, self.habit, self.window = patient, patient.habit, window
        self.canvas = Canvas(window, int(np.ceil(_MARGIN_UM / window.mpp)))
        potentials = layout.potentials(self.canvas.grown)
        self.areas = mask_of(potentials)
        margin = self.canvas.margin_px
        inner = potentials[:, margin : margin + window.height_px, margin : margin + window.width_px]
        self.mask = mask_of(inner)
        self.shares = shares_of(inner)
        self.stains = self._ground()

    def noise(self, name: str, scale_um: float) -> Floats:
        """Named noise of unit variance on the window, shape (height, width)."""
        return smooth_noise(self.window, key_of(self.patient.seed, name), scale_um)

    def noise_at_places(self, places: Places, name: str, scale_um: float) -> Floats:
        """Named noise of unit variance at points, shape (points,)."""
        return noise_at(key_of(self.patient.seed, name), places.y_um / scale_um, places.x_um / scale_um)

    def places(self, name: str, spacing_um: float, jitter: float, areas: Sequence[int]) -> Places:
        """Points on the canvas that lie in one of `areas`, a jittered lattice of the given spacing."""
        places = scatter(self.canvas.grown, self.patient.seed, name, spacing_um, jitter)
        return places.where(np.isin(self.read(self.areas, places), areas))

    def read(self, canvas_field: NDArray[Any], places: Places) -> NDArray[Any]:
        """Values of a field on the canvas at points, shape (points,)."""
        grown = self.canvas.grown
        rows = ((places.y_um - grown.top_um) / grown.mpp).astype(np.int64).clip(0, grown.height_px - 1)
        columns = ((places.x_um - grown.left_um) / grown.mpp).astype(np.int64).clip(0, grown.width_px - 1)
        return np.asarray(canvas_field[rows, columns])

    def claim(self, area: int, cover: Floats) -> None:
        """Give the pixels that a nucleus covers to the tissue it belongs to, so that the mask stays exact."""
        self.mask[cover > 0.5] = area

    @cached_property
    def fibre_angle(self) -> Floats:
        """Direction of the collagen on the canvas, in radians."""
        down, right = np.gradient(self._fibre_coordinates(self.canvas.grown)[0])
        return np.asarray(np.arctan2(-right, down), dtype=np.float32)

    def _fibre_coordinates(self, window: Window) -> tuple[Floats, Floats]:
        """Distance across and along the collagen fibres in micrometres, each of shape (height, width)."""
        seed, angle = self.patient.seed, self.habit.fibre_angle
        y_um, x_um = window.y_um[:, None], window.x_um[None, :]
        cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        along_um = np.asarray(x_um * cosine + y_um * sine, dtype=np.float32)
        across_um = y_um * cosine - x_um * sine + 22 * smooth_noise(window, key_of(seed, "fibre course"), 60.0)
        across_um = across_um + self.habit.crimp_um * smooth_noise(window, key_of(seed, "fibre crimp"), 7.0)
        return np.asarray(across_um, dtype=np.float32), along_um

    def _ground(self) -> Stains:
        """The tissues without nuclei, mixed by their shares."""
        mixed = Stains(self.shares[WHITE] * _WHITE_HAEMATOXYLIN, self.shares[WHITE] * _WHITE_EOSIN)
        if (self.mask == WHITE).all():
            return mixed
        # Shared by all tissues, and as wide as their differences: this is what makes colour alone fail.
        haze = (0.11 + 0.08 * self.noise("haze", 65.0) + 0.03 * self.noise("haze detail", 18.0)).clip(0.015, 0.5)
        blush = (0.30 + 0.085 * self.noise("blush", 70.0) + 0.03 * self.noise("blush detail", 18.0)).clip(0.1, 0.8)
        grounds: dict[int, Callable[[Floats, Floats], Stains]] = {
            TUMOUR: self._cytoplasm,
            STROMA: self._collagen,
            LYMPHOCYTES: self._lymphoid_ground,
            NECROSIS: self._dead_ground,
        }
        for area, ground in grounds.items():
            share = self.shares[area]
            if share.max() > 1e-3:
                stains = ground(haze, blush)
                mixed.haematoxylin += share * stains.haematoxylin.clip(0, None)
                mixed.eosin += share * stains.eosin.clip(0, None)
        return mixed

    def _cytoplasm(self, haze: Floats, blush: Floats) -> Stains:
        grain, blotch = self.noise("grain", 0.9), self.noise("blotch", 3.5)
        return Stains(haze * 0.8 + 0.015 * grain + 0.05, blush * (0.95 + 0.1 * blotch + 0.12 * grain))

    def _collagen(self, haze: Floats, blush: Floats) -> Stains:
        across_um, along_um = self._fibre_coordinates(self.window)
        seed = self.patient.seed
        bundles = noise_at(key_of(seed, "bundles"), across_um / 4.0, along_um / 50)
        fibrils = noise_at(key_of(seed, "fibrils"), across_um / 0.85, along_um / 12)
        splits = noise_at(key_of(seed, "clefts"), across_um / 3.4, along_um / 26)
        fibre = (1 + 0.15 * bundles + 0.26 * fibrils + 0.07 * self.noise("grain", 0.9)).clip(0.1, None)
        # Clefts run where a noise drawn out along the fibres crosses zero, and only in looser places.
        loose = np.clip(self.habit.fibre_contrast + 0.45 * self.noise("loose", 22.0) - 0.1, 0, 1)
        solid = 1 - 0.92 * loose * np.exp(-((splits / (0.06 + 0.16 * loose)) ** 2))
        return Stains((haze * (0.5 + 0.6 * fibre) + 0.02) * solid, blush * 1.1 * fibre * solid)

    def _lymphoid_ground(self, haze: Floats, blush: Floats) -> Stains:
        gaps = np.clip(1.1 + 0.9 * self.noise("gaps", 2.6), 0.12, 1.1)
        return Stains((haze * 0.5 + 0.04) * gaps, blush * 0.85 * gaps)

    def _dead_ground(self, haze: Floats, blush: Floats) -> Stains:
        fine = 0.17 * self.noise("grain", 0.9) + 0.15 * self.noise("granules", 1.8)
        granules = (1 + fine + 0.16 * self.noise("blotch", 3.5)).clip(0.1, None)
        return Stains((haze * 0.8 + 0.03) * granules, blush * 1.1 * granules)
