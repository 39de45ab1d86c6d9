"""Which classes are present, decided by the model itself from pooled evidence.

A class is allowed where its pooled score reaches a threshold. The score is pooled over windows of the training
patch's size, because that is what the classifier has learned to judge: pooled over a large image, a small
tumour drowns. The class with the highest score is always allowed, so every place has a candidate.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad


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
    height, width = maps.shape[-2:]
    rows, columns = min(window_px, height), min(window_px, width)
    # two passes of one dimension each: the cost grows with the window's side, not with its area
    inner = avg_pool2d(avg_pool2d(maps, (rows, 1), stride=1), (1, columns), stride=1)  # full windows only
    top, left = (rows - 1) // 2, (columns - 1) // 2
    return pad(inner, (left, columns - 1 - left, top, rows - 1 - top), mode="replicate")


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
