"""Prototypes belong to classes: merging their scores and maps, and the table of who belongs where.

Prototypes are rows in class order; ``counts[c]`` of them stand for class ``c``, and counts may differ.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from histoproto.errors import ConfigError


def counts_per_class(per_class: int | Sequence[int], classes: int) -> tuple[int, ...]:
    """Return the number of prototypes of each class, from one number for all or one per class.

    Raises:
        ConfigError: if a class is left without a prototype.
    """
    counts = (per_class,) * classes if isinstance(per_class, int) else tuple(per_class)
    if len(counts) != classes or min(counts) < 1:
        raise ConfigError(
            f"prototypes_per_class {per_class} does not give each of the {classes} classes at least one prototype; "
            "name one number, or one per class"
        )
    return counts


def membership(counts: Sequence[int]) -> Bool[Tensor, "classes prototypes"]:
    """Return True where a prototype (column) stands for a class (row)."""
    owner = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return owner[None] == torch.arange(len(counts))[:, None]


def merge_mean(values: Tensor, counts: Sequence[int]) -> Tensor:
    """Average over the prototypes of each class (PBIP, CVPR 2025, Eq. 2).

    Args:
        values: scores ``(batch, prototypes)`` or maps ``(batch, prototypes, height, width)``.
        counts: prototypes per class.

    Returns:
        ``(batch, classes, ...)``.
    """
    return torch.stack([part.mean(1) for part in torch.split(values, list(counts), dim=1)], dim=1)


def merge_softmax(values: Tensor, counts: Sequence[int]) -> Tensor:
    """Sum over the prototypes of each class, weighted by their soft-max.

    The released code calls this merge "max". Arguments and result are those of ``merge_mean``.
    """
    return torch.stack([(part.softmax(1) * part).sum(1) for part in torch.split(values, list(counts), dim=1)], dim=1)


def expand_labels(labels: Tensor, counts: Sequence[int]) -> Tensor:
    """Repeat each class's label for its prototypes: ``(batch, classes)`` to ``(batch, prototypes)``."""
    of_classes = torch.split(labels, 1, dim=1)
    return torch.cat([one.expand(-1, count) for one, count in zip(of_classes, counts, strict=True)], dim=1)
