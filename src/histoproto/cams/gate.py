"""Which classes are present, decided by the model itself from pooled evidence.

A class is allowed where its pooled score reaches a threshold. The score is pooled over windows of the training
patch's size, because that is what the classifier has learned to judge: pooled over a large image, a small
tumour drowns. The class with the highest score is always allowed, so every place has a candidate.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def local_scores(
    maps: Float[Tensor, "batch classes height width"], window_px: int
) -> Float[Tensor, "batch classes height width"]:
    """Return each map's mean over the window around each pixel.

    At the border the window is shifted inwards, so that it always has its full size; a side of the image that
    is shorter than the window is averaged whole.

    Args:
        maps: score maps, whose mean over a training patch is its score (a logit).
        window_px: side of the training patches, in pixels of the maps.
    """
    planes = [surroundings(surroundings(plane, window_px, dim=0), window_px, dim=1) for plane in maps.flatten(0, 1)]
    return torch.stack(planes).view(*maps.shape)


def surroundings(values: Float[Tensor, " *shape"], window: int, dim: int) -> Float[Tensor, " *shape"]:
    """Return the mean over a window around each value along one dimension, as ``local_scores`` does along two."""
    length = values.shape[dim]
    size = min(window, length)
    if size == length:
        return values.mean(dim, keepdim=True, dtype=torch.float64).to(values.dtype).expand_as(values)
    places = torch.arange(length, device=values.device) - (size - 1) // 2
    return window_means(values, size, dim).index_select(dim, places.clamp(0, length - size))


def window_means(values: Float[Tensor, " *shape"], size: int, dim: int) -> Float[Tensor, " *_shape"]:
    """Return the mean of each ``size`` neighbours along one dimension, full windows only.

    By differences of running sums, so that the cost does not depend on the size.

    Args:
        values: any shape.
        size: 1 to the length of the dimension, which becomes shorter by ``size - 1``.
        dim: which dimension.
    """
    sums = values.cumsum(dim, dtype=torch.float64)
    left = values.shape[dim] - size
    means = sums.narrow(dim, size - 1, left + 1).clone()
    means.narrow(dim, 1, left).sub_(sums.narrow(dim, 0, left))
    return means.div_(size).to(values.dtype)


def allowed_classes(
    scores: Float[Tensor, "batch classes *place"], thresholds: Float[Tensor, " classes"]
) -> Bool[Tensor, "batch classes *place"]:
    """Return where a class may be predicted: score at or above its threshold, or highest of all.

    Args:
        scores: pooled scores, per image or per pixel.
        thresholds: one per class, in the units of the scores.
    """
    limits = thresholds.view(1, -1, *[1] * (scores.ndim - 2))
    return (scores >= limits) | (scores == scores.amax(1, keepdim=True))


def sensitive_thresholds(
    scores: Float[Tensor, "patches classes"], labels: Float[Tensor, "patches classes"], sensitivity: float
) -> Float[Tensor, " classes"]:
    """Return the scores that keep a share of the patches in which each class is known to be.

    A class wrongly shut out costs its whole area, one wrongly let in only competes for it; so thresholds aim at
    sensitivity. They are never stricter than the score 0 (probability one half), also not for a class without
    examples.

    Args:
        scores: pooled logits of labelled patches that were not trained on.
        labels: their image-level labels.
        sensitivity: share of positives to keep, 0..1.
    """
    thresholds = scores.new_zeros(scores.shape[1])
    for index in range(scores.shape[1]):
        positive = scores[labels[:, index] > 0, index]
        if len(positive):
            thresholds[index] = torch.quantile(positive, 1 - sensitivity, interpolation="lower").clamp(max=0.0)
    return thresholds
