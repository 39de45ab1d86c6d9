"""What all losses over pixels share: which pixels count."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def known_pixels(masks: Int64[Tensor, "batch height width"], classes: int) -> Bool[Tensor, "batch height width"]:
    """Return where a mask names a class; background and 255 (nobody knows) do not count.

    Args:
        masks: class index per pixel; ``classes`` where background, 255 where nobody knows.
        classes: number of tissue classes.
    """
    return masks < classes


def mean_over(values: Float[Tensor, "batch height width"], counted: Bool[Tensor, "batch height width"]) -> Tensor:
    """Return the mean of the pixels that count; 0, with gradient, where none does."""
    return torch.where(counted, values, 0).sum() / counted.sum().clamp(min=1)
