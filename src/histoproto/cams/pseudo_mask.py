"""From class maps to one class per pixel, among the classes that may be present."""

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

UNDECIDED = 255
"""Mask value where no class wins; the ignore value of every taxonomy."""


def pseudo_mask(
    maps: Float[Tensor, "batch classes height width"],
    present: Bool[Tensor, "batch classes"] | Bool[Tensor, "batch classes height width"],
    background: Bool[Tensor, "batch height width"] | None = None,
) -> UInt8[Tensor, "batch height width"]:
    """Return the strongest present class at each pixel.

    Args:
        maps: class evidence in any range; only its order matters.
        present: classes allowed in the mask. For training patches the image-level labels, which are known; for
            anything else what the model predicts. Per image, or per pixel where presence is decided locally.
        background: pixels that are white background; None decides tissue classes alone.

    Returns:
        Class indices; ``classes`` where background; 255 where no class is allowed or where allowed classes tie
        (so a map that is zero everywhere never becomes class 0 by a tie).
    """
    classes = maps.shape[1]
    allowed = present if present.ndim == 4 else present[:, :, None, None].expand_as(maps)
    gated = maps.masked_fill(~allowed, -torch.inf)
    best, winner = gated.max(1)
    decided = ((gated == best[:, None]) & allowed).sum(1) == 1
    mask = winner.to(torch.uint8).masked_fill(~decided, UNDECIDED)
    return mask if background is None else mask.masked_fill(background, classes)
