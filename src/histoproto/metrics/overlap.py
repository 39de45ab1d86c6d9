r"""Overlap measures from a confusion matrix :math:`n` (rows truth, columns prediction).

With :math:`t_c = \sum_j n_{cj}` true and :math:`p_c = \sum_i n_{ic}` predicted pixels of class :math:`c`:

.. math::
    \mathrm{IoU}_c = \frac{n_{cc}}{t_c + p_c - n_{cc}}, \qquad
    \mathrm{Dice}_c = \frac{2 n_{cc}}{t_c + p_c}, \qquad
    \mathrm{FwIoU} = \sum_c \frac{t_c}{\sum_k t_k} \mathrm{IoU}_c .

A class without any true pixel has no value: it is ``nan``, never 0, and means leave it out. What was
wrongly predicted as such a class still counts, as misses of the classes that it really was. Every measure
takes a stack of matrices as well as one.
"""

import torch
from jaxtyping import Float64, Num
from torch import Tensor


def support(confusion: Num[Tensor, "*stack classes classes"]) -> Num[Tensor, "*stack classes"]:
    """Return the true pixels of each class."""
    return confusion.sum(-1)


def iou(confusion: Num[Tensor, "*stack classes classes"]) -> Float64[Tensor, "*stack classes"]:
    """Return intersection over union of each class, 0..1; ``nan`` where the truth has no such pixel."""
    true, predicted, hits = _counts(confusion)
    return _where_true(true, hits / (true + predicted - hits))


def dice(confusion: Num[Tensor, "*stack classes classes"]) -> Float64[Tensor, "*stack classes"]:
    """Return the Dice coefficient of each class, 0..1; ``nan`` where the truth has no such pixel."""
    true, predicted, hits = _counts(confusion)
    return _where_true(true, 2 * hits / (true + predicted))


def class_accuracy(confusion: Num[Tensor, "*stack classes classes"]) -> Float64[Tensor, "*stack classes"]:
    """Return the share of each class's true pixels that were found (recall), 0..1, or ``nan``."""
    true, _, hits = _counts(confusion)
    return _where_true(true, hits / true)


def pixel_accuracy(confusion: Num[Tensor, "*stack classes classes"]) -> Float64[Tensor, "*stack"]:
    """Return the share of all pixels that were named rightly, 0..1; ``nan`` without pixels."""
    _, _, hits = _counts(confusion)
    return hits.sum(-1) / confusion.sum((-2, -1))


def frequency_weighted(
    per_class: Float64[Tensor, "*stack classes"], support_px: Num[Tensor, "*stack classes"]
) -> Float64[Tensor, "*stack"]:
    """Return the mean of a measure weighted by true pixels (FwIoU for IoU); ``nan`` without pixels."""
    return (per_class.nan_to_num() * support_px).sum(-1) / support_px.sum(-1)


def mean_of_present(per_class: Float64[Tensor, "*stack classes"]) -> Float64[Tensor, "*stack"]:
    """Return the plain mean over classes that have a value; ``nan`` where none has."""
    return per_class.nanmean(-1)


def _counts(confusion: Num[Tensor, "*stack classes classes"]) -> tuple[Tensor, Tensor, Tensor]:
    """Return true, predicted and rightly named pixels per class in float64 (exact below 2^53)."""
    counts = confusion.double()
    return counts.sum(-1), counts.sum(-2), counts.diagonal(dim1=-2, dim2=-1)


def _where_true(true: Float64[Tensor, "*stack classes"], measure: Float64[Tensor, "*stack classes"]) -> Tensor:
    return torch.where(true > 0, measure, torch.nan)
