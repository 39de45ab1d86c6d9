r"""Coverage against precision: does confidence tell right pixels from wrong ones, and what does asking for it cost?

With :math:`n_c(\ell)` pixels predicted as class :math:`c` at confidence level :math:`\ell`, of which :math:`r_c(\ell)`
are right, keeping those at or above a threshold :math:`t_c` gives

.. math::
    \mathrm{coverage}_c = \frac{\sum_{\ell \ge t_c} n_c(\ell)}{\sum_\ell n_c(\ell)}, \qquad
    \mathrm{precision}_c = \frac{\sum_{\ell \ge t_c} r_c(\ell)}{\sum_{\ell \ge t_c} n_c(\ell)},

the risk-coverage curve of El-Yaniv and Wiener, JMLR 2010, class by class (risk is 1 - precision).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64, Integer
from torch import Tensor

LEVELS = 256
"""Confidence 0..1 in steps of 1 / 255, as masks store it."""


@dataclass(frozen=True)
class Coverage:
    """What is left of the pixels of each class, and what it is worth; ``nan`` where nothing is left to judge."""

    share: Float64[Tensor, " classes"]
    """Of the pixels predicted as the class, 0..1; ``nan`` where it is never predicted."""
    precision: Float64[Tensor, " classes"]
    """Share of the kept pixels that are right, 0..1; ``nan`` where none is kept."""
    share_of_all: Float64[Tensor, ""]
    """Of the pixels of all classes."""
    precision_of_all: Float64[Tensor, ""]
    """Of the kept pixels of all classes together."""


@dataclass(frozen=True)
class ConfidenceCounts:
    """Pixels by predicted class and level of confidence; counts of several images add up."""

    right: Int64[Tensor, "classes levels"]
    wrong: Int64[Tensor, "classes levels"]

    @classmethod
    def nothing(cls, classes: int) -> "ConfidenceCounts":
        """Return counts to begin with."""
        empty = torch.zeros(classes, LEVELS, dtype=torch.int64)
        return cls(empty, empty)

    @property
    def pixels(self) -> Int64[Tensor, "classes levels"]:
        """Right and wrong together."""
        return self.right + self.wrong

    def __add__(self, other: "ConfidenceCounts") -> "ConfidenceCounts":
        return ConfidenceCounts(self.right + other.right, self.wrong + other.wrong)

    def kept(self, thresholds: Int64[Tensor, " classes"]) -> Coverage:
        """Return what stays of each class at or above its threshold.

        Args:
            thresholds: lowest level that stays, 0..255.
        """
        staying = torch.arange(LEVELS) >= thresholds[:, None]
        pixels, right = ((counts * staying).sum(1).double() for counts in (self.pixels, self.right))
        everything = self.pixels.sum(1)
        return Coverage(
            pixels / everything, right / pixels, pixels.sum() / everything.sum(), right.sum() / pixels.sum()
        )


def count_confidence(
    prediction: Integer[Tensor, "height width"],
    confidence: Float[Tensor, "height width"],
    target: Integer[Tensor, "height width"],
    classes: int,
) -> ConfidenceCounts:
    """Count one image with true background ignored.

    Args:
        prediction: 0..classes-1; where it names no tissue (background, 255 for undecided), the pixel is not counted.
        confidence: 0..1.
        target: 0..classes-1; where it is background or 255 (unknown), the pixel is not counted.
        classes: number of tissue classes.
    """
    counted = (prediction < classes) & (target < classes)
    predicted, true = prediction[counted].long(), target[counted]
    level = (confidence[counted] * (LEVELS - 1)).round().long()
    places = (predicted * LEVELS + level) + classes * LEVELS * (predicted == true)
    wrong, right = torch.bincount(places, minlength=2 * classes * LEVELS).reshape(2, classes, LEVELS)
    return ConfidenceCounts(right, wrong)
