"""Confidence as an 8-bit grey picture."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from histoproto.atomic import replacing


def write_confidence(path: Path, confidence: NDArray[np.floating]) -> None:
    """Write values 0..1 of shape ``(height, width)`` as a grey PNG, 255 for 1, atomically."""
    grey = Image.fromarray(np.rint(confidence * 255).astype(np.uint8))
    with replacing(path) as temporary:
        grey.save(temporary, format="PNG")
