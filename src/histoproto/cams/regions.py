"""Foreground and background of a class, cut out of the image by its class map (PBIP, CVPR 2025, Eqs. 4 and 5)."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from histoproto.cams.scores import minmax


class Regions(NamedTuple):
    """Images with all but the class, or the class itself, dimmed away."""

    foreground: Float[Tensor, "pairs 3 height width"]
    background: Float[Tensor, "pairs 3 height width"]


def threshold(
    maps: Float[Tensor, "batch classes height width"], fraction: float, *, over_image: bool = False
) -> Bool[Tensor, "batch classes height width"]:
    """Return ``M >= fraction * max M`` (Eq. 4).

    Args:
        maps: class maps.
        fraction: the paper's delta, 0..1.
        over_image: take the maximum over all maps of the image, as the released code does, so that a weak class
            loses its whole mask to a strong one; otherwise over each map.
    """
    peak = maps.amax((-3, -2, -1) if over_image else (-2, -1), keepdim=True)
    return maps >= fraction * peak


def cut_regions(
    images: Float[Tensor, "pairs 3 height width"],
    maps: Float[Tensor, "pairs height width"],
    mask: Bool[Tensor, "pairs height width"] | None,
) -> Regions:
    """Return ``b M X`` and ``(1 - b) (1 - M) X`` (Eq. 5), with gradient to the maps.

    Args:
        images: the image of each (image, class) pair.
        maps: the class's map.
        mask: the class's thresholded map ``b``; None leaves the threshold out: ``M X`` and ``(1 - M) X``.
    """
    weight = maps[:, None]
    inside, outside = _sides(weight, mask)
    return Regions(inside * weight * images, outside * (1 - weight) * images)


def cut_stretched_regions(
    images: Float[Tensor, "pairs 3 height width"],
    maps: Float[Tensor, "pairs height width"],
    mask: Bool[Tensor, "pairs height width"] | None,
) -> Regions:
    """Return ``b S(M X)`` and ``(1 - b) S((1 - M) X)``, where S stretches each channel of each crop to [0, 1].

    That is what the released PBIP does, whose M is an unbounded logit; arguments as ``cut_regions``.
    """
    weight = maps[:, None]
    inside, outside = _sides(weight, mask)
    return Regions(inside * minmax(weight * images), outside * minmax((1 - weight) * images))


def _sides(weight: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return what each region is multiplied by: ``b`` and ``1 - b``, or ones."""
    if mask is None:
        return torch.ones_like(weight), torch.ones_like(weight)
    inside = mask[:, None].to(weight.dtype)
    return inside, 1 - inside
