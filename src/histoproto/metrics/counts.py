"""What an image contributes to every figure: pixel counts that add up over images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Integer, Num
from torch import Tensor

from histoproto.metrics.boundary import boundary_counts
from histoproto.metrics.confusion import confusion_matrix
from histoproto.taxonomy import IGNORE

BackgroundRule = Literal["ignored", "counted"]
"""``ignored``: pixels of true background do not count. ``counted``: they do; a class predicted there is a
false positive of that class. Under both, a tissue pixel predicted as background is a miss."""

BACKGROUND_RULES: tuple[BackgroundRule, ...] = ("ignored", "counted")

AT_ONCE = 256
"""Rows of weights that are multiplied at once, which bounds memory."""

BOUNDARY_RATIOS = (0.02, 0.005)
"""Band widths of boundary IoU as fractions of the image diagonal: COCO's and Cityscapes'."""


@dataclass(frozen=True)
class PixelCounts:
    """Counts of one image, of a stack of images, or of sums over images, all under one background rule.

    ``values`` are the tissue classes and, last, background; ``ratios`` are those of ``BOUNDARY_RATIOS``. Counts
    are int64; weighted sums of them (resampled images) may be float64.
    """

    confusion: Num[Tensor, "*stack values values"]
    """Rows truth, columns prediction."""
    intersection: Num[Tensor, "*stack ratios classes"]
    """Pixels in both the true and the predicted boundary band of a class."""
    union: Num[Tensor, "*stack ratios classes"]
    """Pixels in at least one of the two bands."""

    @staticmethod
    def stacked(images: Sequence["PixelCounts"]) -> "PixelCounts":
        """Return counts of single images as one stack."""
        parts = [(image.confusion, image.intersection, image.union) for image in images]
        return PixelCounts(*(torch.stack(part) for part in zip(*parts, strict=True)))

    def pooled(self) -> "PixelCounts":
        """Return the sum over the first axis: the counts of all images as if they were one."""
        return PixelCounts(self.confusion.sum(0), self.intersection.sum(0), self.union.sum(0))

    def weighted(self, weights: Num[Tensor, "draws images"]) -> "PixelCounts":
        """Return sums over the first axis, one for each row of weights, in float64 (exact below 2^53)."""
        return PixelCounts(*(_weighted(weights, part) for part in (self.confusion, self.intersection, self.union)))

    def __getitem__(self, images: Tensor | int | slice) -> "PixelCounts":
        """Return one image, or some, of a stack."""
        return PixelCounts(self.confusion[images], self.intersection[images], self.union[images])

    def __len__(self) -> int:
        """Return the number of stacked images."""
        return len(self.confusion)


def count_image(
    prediction: Integer[Tensor, "height width"],
    target: Integer[Tensor, "height width"],
    classes: int,
    background: BackgroundRule,
) -> PixelCounts:
    """Count one image.

    Args:
        prediction: 0..classes-1, ``classes`` for background; 255 (undecided) names no tissue and is counted like
            background.
        target: 0..classes-1, ``classes`` for background, 255 for pixels that nobody knows.
        classes: number of tissue classes.
        background: whether pixels of true background count.

    Raises:
        DataError: if a value is none of these.
    """
    predicted, true = prediction.cpu(), target.cpu()
    predicted = predicted.masked_fill(predicted == IGNORE, classes)
    if background == "ignored":
        true = true.masked_fill(true == classes, IGNORE)
    bands = [boundary_counts(predicted, true, classes, ratio) for ratio in BOUNDARY_RATIOS]
    return PixelCounts(
        confusion_matrix(predicted, true, classes + 1),
        torch.stack([band.intersection for band in bands]),
        torch.stack([band.union for band in bands]),
    )


def _weighted(weights: Tensor, counts: Tensor) -> Tensor:
    flat = counts.double().flatten(1)
    parts = [part.double() @ flat for part in torch.split(weights, AT_ONCE)]
    return torch.cat(parts).reshape(-1, *counts.shape[1:])
