"""Voting: the pixels of a region share one answer, so that the region's outline becomes the border."""

from collections.abc import Iterable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def vote(
    shares: Float[Tensor, "classes height width"], regions: Int64[Tensor, "height width"]
) -> Float[Tensor, "classes height width"]:
    """Return the mean shares of each pixel's region.

    Args:
        shares: class shares; where they sum to 1, they still do.
        regions: number of the region of each pixel, 0 or more.
    """
    flat = regions.flatten()
    sizes = torch.bincount(flat)
    sums = shares.new_zeros(len(shares), len(sizes)).index_add_(1, flat, shares.flatten(1))
    return (sums / sizes.clamp(min=1))[:, flat].reshape(shares.shape)


def vote_in_masks(
    shares: Float[Tensor, "classes height width"], masks: Iterable[Bool[Tensor, "height width"]]
) -> Float[Tensor, "classes height width"]:
    """Return shares averaged within each mask, pixels outside all of them as they were.

    Args:
        shares: class shares; where they sum to 1, they still do.
        masks: may overlap: each mean is of the given shares, and a later mask covers an earlier one, so the largest
            should come first.
    """
    voted = shares.clone()
    for mask in masks:
        if mask.any():
            voted[:, mask] = shares[:, mask].mean(1, keepdim=True)
    return voted
