"""One class map from several levels."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate


def fuse_levels(levels: Sequence[Tensor], weights: Sequence[float]) -> Float[Tensor, "batch classes height width"]:
    """Return the weighted mean of the levels at the resolution of the finest level that counts.

    Cells of different levels are aligned by their area (half-pixel centres), so that a tile of a large image
    gives the same map as the same place of the whole image.

    Args:
        levels: maps ``(batch, classes, h_i, w_i)``, finest first.
        weights: one per level, at least one above 0; a level of weight 0 is left out.
    """
    used = [(level, weight) for level, weight in zip(levels, weights, strict=True) if weight]
    finest, size = used[0][0], used[0][0].shape[-2:]
    coarser = [interpolate(level, size=size, mode="bilinear", align_corners=False) for level, _ in used[1:]]
    return weighted_mean([finest, *coarser], [weight for _, weight in used])


def weighted_mean(
    levels: Sequence[Float[Tensor, "batch classes height width"]], weights: Sequence[float]
) -> Float[Tensor, "batch classes height width"]:
    """Return the weighted mean of levels of one resolution; one weight for each, at least one above 0."""
    used = [(level, weight) for level, weight in zip(levels, weights, strict=True) if weight]
    total = used[0][1] * used[0][0]
    for level, weight in used[1:]:
        total = total.add(level, alpha=weight)
    return total / sum(weight for _, weight in used)
