"""Confidence as an 8-bit grey picture."""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from histoproto.atomic import replacing


def write_confidence(path: Path, confidence: Float[np.ndarray, "height width"]) -> None:
    """Write values 0..1 as a grey PNG, 255 for 1, atomically.

    Raises:
        ValueError: if a value is not a number or outside 0..1, which would wrap round.
    """
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError(f"{path}: a confidence is not in 0..1")
    grey = Image.fromarray(np.rint(confidence * 255).astype(np.uint8))
    with replacing(path) as temporary:
        grey.save(temporary, format="PNG")
