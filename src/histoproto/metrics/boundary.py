r"""Boundary IoU: do the borders lie where they should?

For each class, the *band* of a mask is the mask minus its erosion by a 3x3 square, repeated
:math:`d = \max(1, \mathrm{round}(r \sqrt{h^2 + w^2}))` times, with one pixel of zeros around the image, so
that the image border counts as a border. Boundary IoU is the IoU of the two bands, here with bands pooled
over all images (Cheng et al., *Boundary IoU*, CVPR 2021; the ratio :math:`r` is 0.02 in COCO and LVIS, 0.005
in Cityscapes).

Pixels that do not count belong to no mask, neither the true nor the predicted one; a class ends where
they begin, as it ends at the image border.

*How it is fast.* Repeated erosion is erosion by one square of :math:`2d + 1`. A pixel survives it in its own
class exactly if that square holds a single value, so the smallest and the largest value of each square tell
the bands of all classes at once, and both come from about :math:`\log_2 d` shifted comparisons.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64, Integer, Num
from torch import Tensor
from torch.nn.functional import pad

from histoproto.metrics.confusion import confusion_matrix
from histoproto.taxonomy import IGNORE

_OUTSIDE = -1


class BoundaryCounts(NamedTuple):
    """Pixels of the two bands; counts of several images add up."""

    intersection: Num[Tensor, "*stack classes"]
    """Pixels in both bands of a class."""
    union: Num[Tensor, "*stack classes"]
    """Pixels in at least one of the two bands."""


def band_width_px(height_px: int, width_px: int, ratio: float) -> int:
    """Return how many times to erode, at least once, from a ratio of the image diagonal."""
    return max(1, round(ratio * math.hypot(height_px, width_px)))


def boundary_band(values: Integer[Tensor, "*batch height width"], width_px: int) -> Bool[Tensor, "*batch height width"]:
    """Return which pixels lie within ``width_px`` (chessboard distance) of another value or of the outside.

    For each value ``v``, ``band & (values == v)`` is its mask minus its eroded mask.

    Args:
        values: masks with values from 0 to 255.
        width_px: how many times to erode by a 3x3 square.
    """
    around = pad(values.to(torch.int16), (width_px, width_px, width_px, width_px), value=_OUTSIDE)
    side = 2 * width_px + 1
    return _slide(around, side, torch.minimum) != _slide(around, side, torch.maximum)


def boundary_counts(
    prediction: Integer[Tensor, "height width"],
    target: Integer[Tensor, "height width"],
    classes: int,
    ratio: float,
) -> BoundaryCounts:
    """Count the band pixels of one image.

    Args:
        prediction: predicted values, 0..255.
        target: true values, 0..255; where it is 255 (ignore), the pixel is in no mask.
        classes: values 0..classes-1 are counted.
        ratio: band width as a fraction of the image diagonal.
    """
    dropped = target == IGNORE
    both = torch.stack([prediction.to(torch.int16), target.to(torch.int16)]).masked_fill(dropped, IGNORE)
    band = boundary_band(both, band_width_px(target.shape[0], target.shape[1], ratio))
    predicted, true = both.clamp(max=classes).masked_fill(~band, classes)
    pairs = confusion_matrix(predicted, true, classes + 1)
    hits = pairs.diagonal()
    return BoundaryCounts(hits[:classes], (pairs.sum(0) + pairs.sum(1) - hits)[:classes])


def boundary_iou(counts: BoundaryCounts) -> Float64[Tensor, "*stack classes"]:
    """Return intersection over union of the bands, 0..1; ``nan`` where there is no band at all.

    Args:
        counts: of one image, or sums; any axes before that of the classes are kept.
    """
    return counts.intersection.double() / counts.union


def _slide(values: Tensor, side: int, pick: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return the smallest or largest value of every ``side`` x ``side`` square that fits inside."""
    for axis in (-2, -1):
        reach = 1
        while reach < side:
            shift = min(reach, side - reach)
            length = values.shape[axis] - shift
            values = pick(values.narrow(axis, 0, length), values.narrow(axis, shift, length))
            reach += shift
    return values
