"""Refiners: class probabilities in, class probabilities out that follow the photograph's edges."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from histoproto.cams.dense_crf import DenseCRF
from histoproto.errors import ConfigError
from histoproto.inference.settings import InferenceSettings

LARGEST_PX = 9 * 10**6
"""The CRF keeps about 400 bytes per pixel."""

Refiner = Callable[[Float[Tensor, "classes height width"]], Float[Tensor, "classes height width"]]


def refiner_of(rgb: NDArray[np.uint8], settings: InferenceSettings) -> Refiner | None:
    """Return the refiner of one photograph; None where masks are taken as they are.

    Args:
        rgb: ``(height, width, 3)``, 0..255.
        settings: ``refine`` says which.

    Raises:
        ConfigError: if the photograph is too large for it.
    """
    if settings.refine == "none":
        return None
    height, width, _ = rgb.shape
    if height * width > LARGEST_PX:
        raise ConfigError(
            f"refine crf takes images of up to {LARGEST_PX // 10**6} megapixels, not of {width} x {height} px; "
            "leave it out, or cut out a region"
        )
    return DenseCRF(torch.from_numpy(rgb.transpose(2, 0, 1).copy()).float() / 255, settings.crf)
