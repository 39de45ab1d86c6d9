"""Which pixels of a slide keep their probabilities."""

import numpy as np
from jaxtyping import Int64

SAMPLE_PX = 4
"""Every fourth pixel across and down, from the slide's corner on: class maps are no finer than that."""


def samples(start_px: int, length_px: int) -> Int64[np.ndarray, " count"]:
    """Return the pixels of a range, along one side of the slide, that keep their probabilities."""
    return np.arange(-(-start_px // SAMPLE_PX) * SAMPLE_PX, start_px + length_px, SAMPLE_PX)
