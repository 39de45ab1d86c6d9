"""Fields of H&E-like tissue with exact masks.

Colour is made useless on purpose. All tissues share smooth fields of extra haematoxylin, eosin and section
thickness whose spread is as large as the difference of the tissues' means, and every patient has another stain. What
is left to tell tissues apart is morphology: large vesicular nuclei in nests (tumour), spindle nuclei along wavy fibres
(stroma), small dark packed nuclei (lymphocytes), nuclear dust and ghosts of cells on granular ground (necrosis).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from histoproto.data.phantom.layout import N_AREAS, Layout
from histoproto.data.phantom.noise import Window, hashed_uniform, key_of, smooth_noise
from histoproto.data.phantom.nuclei import add_nuclei
from histoproto.data.phantom.patient import Patient, Stain
from histoproto.data.phantom.scene import Scene, Stains

_REGION_UM = 110.0
"""Width of a region of one tissue in `render_tissue`."""


@dataclass(frozen=True)
class Tissue:
    """A rendered field of tissue.

    Attributes:
        image: RGB, uint8, shape (height, width, 3).
        mask: 0 tumour, 1 stroma, 2 lymphocytes, 3 necrosis, 4 white background; uint8, shape (height, width).
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]


def render_tissue(
    height_px: int, width_px: int, seed: int, *, mpp: float = 0.5, present: Sequence[int] | None = None
) -> Tissue:
    """Render a field of H&E-like tissue with its exact mask.

    Args:
        height_px: Height of the field in pixels.
        width_px: Width of the field in pixels.
        seed: One seed is one patient, stain and arrangement; the same arguments give the same pixels.
        mpp: Micrometres per pixel.
        present: Areas that may occur: 0 tumour, 1 stroma, 2 lymphocytes, 3 necrosis, 4 white. None allows all.

    Returns:
        Image and mask of shape (height_px, width_px).

    Raises:
        ValueError: If a size is not positive, or `present` is empty or names an unknown area.
    """
    if height_px < 1 or width_px < 1 or mpp <= 0:
        raise ValueError(f"height_px={height_px}, width_px={width_px}, mpp={mpp}: all must be positive")
    areas = tuple(range(N_AREAS)) if present is None else tuple(sorted(set(present)))
    if not areas or not set(areas) <= set(range(N_AREAS)):
        raise ValueError(f"present={present}: name one or more of the areas 0 to {N_AREAS - 1}")
    layout = Layout(seed=seed, region_um=_REGION_UM, present=areas)
    return render_window(Patient.draw(seed), layout, Window(0.0, 0.0, height_px, width_px, mpp))


def render_window(patient: Patient, layout: Layout, window: Window) -> Tissue:
    """Render one window of a patient's tissue; windows that overlap agree where they overlap.

    Args:
        patient: Whose tissue it is.
        layout: Where which tissue lies.
        window: What to render.

    Returns:
        The tissue, of the window's size.
    """
    # The blur reads this many pixels beyond the window.
    rim = int(np.ceil(4 * patient.stain.blur_um / window.mpp)) + 1
    scene = Scene(patient, layout, window.grown(rim))
    add_nuclei(scene)
    image = _scan(scene.stains, scene.window, patient.seed, patient.stain)
    return Tissue(image=image[rim:-rim, rim:-rim], mask=scene.mask[rim:-rim, rim:-rim])


def _scan(stains: Stains, window: Window, seed: int, stain: Stain) -> NDArray[np.uint8]:
    """Light through the stained section, as the scanner saw it; uint8, shape (height, width, 3)."""
    thickness = np.exp(0.16 * smooth_noise(window, key_of(seed, "thickness"), 70.0))
    concentrations = np.stack([stains.haematoxylin, stains.eosin]) * (thickness * stain.strength[:, None, None])
    blur_px = stain.blur_um / window.mpp
    concentrations = gaussian_filter(concentrations, (0, blur_px, blur_px))
    # Beer-Lambert: densities add up, light falls off exponentially.
    density = np.einsum("shw,sc->hwc", concentrations, stain.vectors)
    light = np.power(np.float32(10), -np.float32(stain.gamma) * density) * stain.white
    light *= 1 + 0.015 * smooth_noise(window, key_of(seed, "lamp"), 150.0)[:, :, None]
    rows = np.rint(window.y_um / window.mpp - 0.5).astype(np.int64)
    columns = np.rint(window.x_um / window.mpp - 0.5).astype(np.int64)
    for channel in range(3):
        uniform = hashed_uniform(key_of(seed, f"sensor {channel}"), rows[:, None], columns[None, :])
        light[:, :, channel] += np.float32(stain.grain * 12**0.5) * (uniform - np.float32(0.5))
    return np.asarray(np.rint(light.clip(0, 1) * 255), dtype=np.uint8)
