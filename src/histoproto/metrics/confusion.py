"""Confusion matrices: who was taken for whom, counted in pixels."""

import torch
from jaxtyping import Int64, Integer
from torch import Tensor

from histoproto.errors import DataError
from histoproto.taxonomy import IGNORE


def confusion_matrix(
    prediction: Integer[Tensor, "*size"], target: Integer[Tensor, "*size"], size: int
) -> Int64[Tensor, "{size} {size}"]:
    """Count the pixels of every pair (true value, predicted value).

    Matrices of several images add up: the sum is the matrix of all their pixels.

    Args:
        prediction: predicted values, 0..size-1 wherever the truth is known.
        target: true values, 0..size-1, or 255 (ignore) for pixels that do not count.
        size: number of values.

    Returns:
        Pixel counts; rows are the truth, columns the prediction.

    Raises:
        DataError: if a value that counts lies outside 0..size-1.
    """
    dropped = target == IGNORE
    true = _checked(target.masked_fill(dropped, 0), size, "true mask")
    predicted = _checked(prediction.masked_fill(dropped, 0), size, "predicted mask")
    pairs = true.int() * size + predicted
    counts = torch.bincount(pairs.flatten(), minlength=size * size).reshape(size, size)
    counts[0, 0] -= dropped.sum()
    return counts


def _checked(values: Integer[Tensor, "*size"], size: int, what: str) -> Integer[Tensor, "*size"]:
    if values.numel():
        lowest, highest = (int(bound) for bound in values.aminmax())
        if lowest < 0 or highest >= size:
            strange = lowest if lowest < 0 else highest
            raise DataError(f"{what} holds value {strange}, but only 0..{size - 1} are known; check its classes")
    return values
