"""Refiners: class probabilities in, class probabilities out that follow the photograph's edges."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from histoproto.cams.dense_crf import DenseCRF
from histoproto.cams.random_walk import RandomWalk, RandomWalkSettings
from histoproto.contracts import FeaturePyramid, LoadedWeights
from histoproto.errors import ConfigError
from histoproto.inference.evidence import whole_cells
from histoproto.inference.sam import SamVoting, load_once
from histoproto.inference.settings import InferenceSettings
from histoproto.inference.superpixels import SuperpixelVoting

LARGEST_PX = 9 * 10**6
"""The CRF keeps about 600 bytes per pixel; the others less."""

Refiner = Callable[[Float[Tensor, "classes height width"]], Float[Tensor, "classes height width"]]


def refiner_of(model: nn.Module, rgb: NDArray[np.uint8], settings: InferenceSettings) -> Refiner | None:
    """Return the refiner of one photograph; None where masks are taken as they are.

    Args:
        model: trained, in evaluation mode; ``affinity`` compares features of its backbone.
        rgb: ``(height, width, 3)``, 0..255.
        settings: ``refine`` says which.

    Raises:
        ConfigError: if the photograph is too large, or the refiner needs what is not there.
        WeightsError: if weights that the refiner needs are missing or do not fit.
    """
    if settings.refine == "none":
        return None
    check_refiner(model, settings)
    height, width, _ = rgb.shape
    if height * width > LARGEST_PX:
        raise ConfigError(
            f"refine {settings.refine} takes images of up to {LARGEST_PX // 10**6} megapixels, not of "
            f"{width} x {height} px; leave it out, or cut out a region"
        )
    if settings.refine == "superpixels":
        return SuperpixelVoting(rgb, settings.superpixels)
    image = torch.from_numpy(rgb.transpose(2, 0, 1).copy()).float() / 255
    if settings.refine == "affinity":
        return _walk(model, image, settings.affinity)
    if settings.refine == "sam":
        return SamVoting(image, settings.sam)
    return DenseCRF(image, settings.crf)


def check_refiner(model: nn.Module, settings: InferenceSettings) -> None:
    """Check what can be checked before any photograph is looked at.

    Raises:
        ConfigError: if the refiner needs what is not there.
    """
    if settings.refine == "affinity":
        _backbone(model)
    if settings.refine == "sam" and settings.sam.weights is None:
        raise ConfigError(
            "refine sam needs the weights of a Segment Anything network: name a folder or hf:org/name in "
            "transformers' format with --refine-weights, or take another refiner"
        )


def refiner_weights(settings: InferenceSettings) -> LoadedWeights | None:
    """Return which pretrained weights the refiner asks; None if it needs none.

    Raises:
        WeightsError: if they are missing or do not fit.
    """
    if settings.refine != "sam" or settings.sam.weights is None:
        return None
    return load_once(settings.sam.weights)[1]


def _backbone(model: nn.Module) -> FeaturePyramid:
    for module in model.modules():
        if isinstance(module, FeaturePyramid):  # a method's backbone comes first; a segmenter's is inside its encoder
            return module
    raise ConfigError(
        "refine affinity compares features of a backbone of histoproto's own, and this model has none (encoders named "
        "smp: are the library's); take another refiner"
    )


def _walk(model: nn.Module, image: Float[Tensor, "3 height width"], settings: RandomWalkSettings) -> Refiner:
    """Return the walk over the photograph, enlarged to whole cells of all levels."""
    backbone = _backbone(model)
    height, width = image.shape[-2:]
    whole = whole_cells(image[None])
    with torch.no_grad():
        levels = backbone(whole.to(next(model.parameters()).device))
    walk = RandomWalk(whole[0], [level[0].float().cpu() for level in levels], settings)
    return lambda shares: walk(whole_cells(shares[None])[0])[:, :height, :width]
