"""How sharp a photograph of tissue is, whatever the tissue and its stain."""

import numpy as np
from jaxtyping import UInt8

DETAIL_PX, STRUCTURE_PX = 1.0, 4.0
"""Standard deviations of the Gaussians that set details apart from structures, and structures from shades."""

BLURRED = 0.22
"""Smaller values are blurred: sharp tissue has 0.25 to 1.3 at 0.5 to 2 microns per pixel, and 0.11 to 0.22 when a
Gaussian of two pixels has blurred it."""


def sharpness(rgb: UInt8[np.ndarray, "height width 3"]) -> float:
    """Return the contrast of details over that of structures four times as large, in optical density.

    Details are what a Gaussian of ``DETAIL_PX`` takes away, structures what one of ``STRUCTURE_PX`` takes away from the
    rest. Tissue has about equal contrast at all sizes (its spectrum falls as 1/f), so that the ratio hardly depends on
    tissue, stain or microns per pixel, whereas blur takes the details first. The variance of the Laplacian measures the
    stain as well: over two slides, sharp pale patches have less of it than blurred dark ones.

    Args:
        rgb: a patch at the resolution at which it will be used; blur below its pixels does not matter and is not seen.

    Returns:
        0 or more; 0 for an image of one shade.
    """
    from scipy.ndimage import gaussian_filter

    density = -np.log10(np.maximum(rgb.mean(-1), 1.0) / 255.0)
    without_details = gaussian_filter(density, DETAIL_PX)
    structures = without_details - gaussian_filter(density, STRUCTURE_PX)
    contrast = float(structures.std())
    return float((density - without_details).std()) / contrast if contrast > 1e-6 else 0.0
