"""Multi-label classification from pooled class scores."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


def multi_level_bce(
    scores: Sequence[Tensor], labels: Float[Tensor, "batch classes"], weights: Sequence[float]
) -> Float[Tensor, ""]:
    """Return the weighted sum of each level's binary cross-entropy (PBIP, CVPR 2025, Eqs. 7 and 8).

    Args:
        scores: logits ``(batch, classes)`` of each level.
        labels: 1 where the class is present, else 0.
        weights: one per level; a level of weight 0 is left out.

    Returns:
        ``sum_i w_i mean BCE(sigmoid(scores_i), labels)``.
    """
    terms = [
        weight * binary_cross_entropy_with_logits(level, labels)
        for level, weight in zip(scores, weights, strict=True)
        if weight
    ]
    return torch.stack(terms).sum()
