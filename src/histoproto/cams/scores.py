"""Class maps as evidence between 0 and 1."""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

SMALLEST = 1e-7
"""Keeps the division defined for a constant map, which becomes zero everywhere."""


def minmax(maps: Float[Tensor, "batch classes height width"]) -> Float[Tensor, "batch classes height width"]:
    """Stretch each map to [0, 1] by its own minimum and maximum; a constant map becomes 0."""
    low = maps.amin((-2, -1), keepdim=True)
    high = maps.amax((-2, -1), keepdim=True)
    return (maps - low) / (high - low + SMALLEST)


def upsample(maps: Float[Tensor, "batch classes _h _w"], size: tuple[int, int]) -> Float[Tensor, "batch classes _H _W"]:
    """Resize bilinearly, corners aligned as in the released code."""
    return interpolate(maps, size=size, mode="bilinear", align_corners=True)


def cam_scores(
    maps: Float[Tensor, "batch classes _h _w"], labels: Float[Tensor, "batch classes"], size: tuple[int, int]
) -> Float[Tensor, "batch classes _H _W"]:
    """Return ReLU, per-map min-max, times label, then upsampled: the released code's scores in [0, 1]."""
    return upsample(minmax(maps.relu()) * labels[:, :, None, None], size)
