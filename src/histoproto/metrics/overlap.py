r"""Overlap measures from a confusion matrix :math:`n` (rows truth, columns prediction).

With :math:`t_c = \sum_j n_{cj}` true and :math:`p_c = \sum_i n_{ic}` predicted pixels of class :math:`c`:

.. math::
    \mathrm{IoU}_c = \frac{n_{cc}}{t_c + p_c - n_{cc}}, \qquad
    \mathrm{Dice}_c = \frac{2 n_{cc}}{t_c + p_c}, \qquad
    \mathrm{FwIoU} = \sum_c \frac{t_c}{\sum_k t_k} \mathrm{IoU}_c .

A class without any true pixel has no value: it is ``nan``, never 0, and means leave it out. What was
wrongly predicted as such a class still counts, as misses of the classes that it really was.
"""

import torch
from jaxtyping import Float64, Int64
from torch import Tensor


def support(confusion: Int64[Tensor, "classes classes"]) -> Int64[Tensor, " classes"]:
    """Return the true pixels of each class."""
    return confusion.sum(1)


def iou(confusion: Int64[Tensor, "classes classes"]) -> Float64[Tensor, " classes"]:
    """Return intersection over union of each class, 0..1; ``nan`` where the truth has no such pixel."""
    true, predicted, hits = _counts(confusion)
    return _where_true(true, hits / (true + predicted - hits))


def dice(confusion: Int64[Tensor, "classes classes"]) -> Float64[Tensor, " classes"]:
    """Return the Dice coefficient of each class, 0..1; ``nan`` where the truth has no such pixel."""
    true, predicted, hits = _counts(confusion)
    return _where_true(true, 2 * hits / (true + predicted))


def class_accuracy(confusion: Int64[Tensor, "classes classes"]) -> Float64[Tensor, " classes"]:
    """Return the share of each class's true pixels that were found (recall), 0..1, or ``nan``."""
    true, _, hits = _counts(confusion)
    return _where_true(true, hits / true)


def pixel_accuracy(confusion: Int64[Tensor, "classes classes"]) -> Float64[Tensor, ""]:
    """Return the share of all pixels that were named rightly, 0..1; ``nan`` without pixels."""
    return confusion.diagonal().sum().double() / confusion.sum()


def frequency_weighted(
    per_class: Float64[Tensor, " classes"], support_px: Int64[Tensor, " classes"]
) -> Float64[Tensor, ""]:
    """Return the mean of a measure weighted by true pixels (FwIoU for IoU); ``nan`` without pixels."""
    return (per_class.nan_to_num() * support_px).sum() / support_px.sum()


def mean_of_present(per_class: Float64[Tensor, " classes"]) -> Float64[Tensor, ""]:
    """Return the plain mean over classes that have a value; ``nan`` where none has."""
    return per_class.nanmean()


def _counts(confusion: Int64[Tensor, "classes classes"]) -> tuple[Tensor, Tensor, Tensor]:
    """Return true, predicted and rightly named pixels per class in float64 (exact below 2^53)."""
    counts = confusion.double()
    return counts.sum(1), counts.sum(0), counts.diagonal()


def _where_true(true: Float64[Tensor, " classes"], measure: Float64[Tensor, " classes"]) -> Tensor:
    return torch.where(true > 0, measure, torch.nan)
