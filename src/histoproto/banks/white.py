"""Patches that show mostly glass are no example of any tissue.

The paper leaves out "excessive white regions" and states no rule. Here a pixel is white if it is bright and grey:
luminance above 0.8 and saturation below 0.1; how large a share of a patch may be white is a setting of the bank.
"""

import numpy as np
from jaxtyping import UInt8

LUMINANCE_ABOVE = 0.8
"""ITU-R BT.601 luminance in [0, 1]; about the 200 of 255 of MLPS (MedIA 2022)."""
SATURATION_BELOW = 0.1
"""``1 - min / max`` of red, green and blue; pale eosin stays above it."""
BT601 = np.array([0.299, 0.587, 0.114], np.float32)

RULE = f"a pixel is white if its luminance is above {LUMINANCE_ABOVE} and its saturation below {SATURATION_BELOW}"
"""The rule in words, for people."""


def white_share(rgb: UInt8[np.ndarray, "height width 3"]) -> float:
    """Return the share of white pixels, 0..1."""
    colour = rgb.astype(np.float32) / 255
    brightest = colour.max(-1)
    saturation = 1 - colour.min(-1) / np.maximum(brightest, 1e-6)
    return float(((colour @ BT601 > LUMINANCE_ABOVE) & (saturation < SATURATION_BELOW)).mean())
