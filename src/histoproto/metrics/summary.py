"""The figures of a split under one background rule, gathered image by image."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float64, Int64, Integer
from torch import Tensor

from histoproto.metrics import overlap
from histoproto.metrics.boundary import BoundaryCounts, boundary_counts, boundary_iou
from histoproto.metrics.confusion import confusion_matrix
from histoproto.taxonomy import IGNORE

BackgroundRule = Literal["ignored", "counted"]
"""``ignored``: pixels of true background do not count. ``counted``: they do; a class predicted there is a
false positive of that class. Under both, a tissue pixel predicted as background is a miss."""

BOUNDARY_RATIOS = (0.02, 0.005)
"""Band widths of boundary IoU as fractions of the image diagonal: COCO's and Cityscapes'."""


class Accumulator:
    """Counts of a whole split for one gate and one background rule.

    Means (``miou``, ``dice``, ``biou``, ``fwiou``) go over the tissue classes that the truth has;
    background's own IoU is never among them.
    """

    def __init__(self, classes: Sequence[str], background: BackgroundRule) -> None:
        self.classes = tuple(classes)
        self.background: BackgroundRule = background
        number = len(self.classes)
        self.images = 0
        self.confusion: Int64[Tensor, "values values"] = torch.zeros(number + 1, number + 1, dtype=torch.int64)
        """Rows truth, columns prediction; the last of each is background."""
        self.boundary = {
            ratio: BoundaryCounts(torch.zeros(number, dtype=torch.int64), torch.zeros(number, dtype=torch.int64))
            for ratio in BOUNDARY_RATIOS
        }

    def add(
        self, prediction: Integer[Tensor, "height width"], target: Integer[Tensor, "height width"]
    ) -> Int64[Tensor, "values values"]:
        """Count one image.

        Args:
            prediction: 0..classes-1, ``classes`` for background; 255 (undecided) names no tissue and is
                counted like background.
            target: 0..classes-1, ``classes`` for background, 255 for pixels that nobody knows.

        Returns:
            The confusion matrix of this image alone.

        Raises:
            DataError: if a value is none of these.
        """
        white = len(self.classes)
        predicted, true = prediction.cpu(), target.cpu()
        predicted = predicted.masked_fill(predicted == IGNORE, white)
        if self.background == "ignored":
            true = true.masked_fill(true == white, IGNORE)
        of_image = confusion_matrix(predicted, true, white + 1)
        self.images += 1
        self.confusion += of_image
        for ratio, counts in self.boundary.items():
            of_ratio = boundary_counts(predicted, true, white, ratio)
            counts.intersection.add_(of_ratio.intersection)
            counts.union.add_(of_ratio.union)
        return of_image

    def summary(self) -> dict[str, Any]:
        """Return the figures ready for JSON: fractions 0..1, None where a class is absent from the truth.

        Keys are ``miou``, ``fwiou``, ``dice``, ``biou_<ratio>``, ``pixel_accuracy``, ``images``,
        ``per_class`` (by name: ``iou``, ``dice``, ``biou_<ratio>``, ``support_px``) and ``confusion``
        (rows truth, columns prediction, background last).
        """
        support_px = overlap.support(self.confusion)[:-1]
        measures = {"iou": overlap.iou(self.confusion)[:-1], "dice": overlap.dice(self.confusion)[:-1]}
        for ratio, counts in self.boundary.items():
            measures[f"biou_{ratio}"] = boundary_iou(counts).masked_fill(support_px == 0, torch.nan)
        means = {
            "miou" if name == "iou" else name: _plain(overlap.mean_of_present(values))
            for name, values in measures.items()
        }
        return {
            **means,
            "fwiou": _plain(overlap.frequency_weighted(measures["iou"], support_px)),
            "pixel_accuracy": _plain(overlap.pixel_accuracy(self.confusion)),
            "images": self.images,
            "per_class": {
                name: {key: _plain(values[index]) for key, values in measures.items()}
                | {"support_px": int(support_px[index])}
                for index, name in enumerate(self.classes)
            },
            "confusion": self.confusion.tolist(),
        }


def mean_iou(confusion: Int64[Tensor, "values values"]) -> float | None:
    """Return the mean IoU over the tissue classes in the truth; None where the truth has no tissue.

    Args:
        confusion: as ``Accumulator.add`` returns it, background last.
    """
    return _plain(overlap.mean_of_present(overlap.iou(confusion)[:-1]))


def _plain(value: Float64[Tensor, ""]) -> float | None:
    return None if bool(value.isnan()) else float(value)
