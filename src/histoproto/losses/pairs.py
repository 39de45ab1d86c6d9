"""(image, class) pairs of a batch: which ones are looked at, and how their losses are averaged."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def draw_pairs(pairs: Int64[Tensor, "pairs 2"], most: int | None) -> Int64[Tensor, "drawn 2"]:
    """Return all pairs, or ``most`` of them at random where there are more; None takes all."""
    if most is None or len(pairs) <= most:
        return pairs
    return pairs[torch.randperm(len(pairs), device=pairs.device)[:most]]


def mean_within_images(values: Float[Tensor, " pairs"], image: Int64[Tensor, " pairs"]) -> Float[Tensor, ""]:
    """Return the mean over images of the mean over each image's pairs.

    So the loss of a batch is the mean of the losses of its halves on two devices, if each image has a pair.

    Args:
        values: one loss per (image, class) pair, at least one.
        image: the pair's place in the batch.
    """
    total = values.new_zeros(int(image.max()) + 1).index_add(0, image, values)
    count = values.new_zeros(len(total)).index_add(0, image, values.new_ones(len(values)))
    return (total[count > 0] / count[count > 0]).mean()
