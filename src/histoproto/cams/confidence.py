"""Which pixels of pseudo masks are sure enough to learn from: class-wise quantiles of their confidence.

One threshold for all classes would leave out the classes that a model is less sure of; so each class keeps the same
share of its own pixels.
"""

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

LEVELS = 256
"""Confidence 0..1 in steps of 1 / 255, as masks store it."""


def confidence_histogram(
    mask: UInt8[Tensor, "height width"], confidence: UInt8[Tensor, "height width"], classes: int
) -> Int64[Tensor, "classes levels"]:
    """Return how many pixels of each class have each level of confidence; histograms of images add up.

    Args:
        mask: 0..classes-1; other values (background, 255 for undecided) count nowhere.
        confidence: levels 0..255.
        classes: number of tissue classes.
    """
    tissue = mask < classes
    places = mask[tissue].long() * LEVELS + confidence[tissue].long()
    return torch.bincount(places, minlength=classes * LEVELS).reshape(classes, LEVELS)


def class_thresholds(histogram: Int64[Tensor, "classes levels"], keep: float) -> Int64[Tensor, " classes"]:
    """Return the highest level at which each class keeps at least a share of its pixels.

    A pixel stays where its level is at or above its class's threshold, so pixels of equal confidence stay together, and
    a class may keep more than was asked for. A class without pixels gets 0.

    Args:
        histogram: pixels of each class at each level of confidence.
        keep: share of each class's pixels that stay, above 0 and at most 1.

    Raises:
        ValueError: if ``keep`` is not such a share.
    """
    if not 0 < keep <= 1:
        raise ValueError(f"keep is {keep}, not above 0 and at most 1")
    staying = histogram.flip(1).cumsum(1).flip(1).double()  # at or above each level; exact below 2^53
    enough = staying / staying[:, :1] >= keep  # nan, thus False, for a class without pixels
    return (enough.sum(1) - 1).clamp(min=0)
