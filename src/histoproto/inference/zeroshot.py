r"""Zero-shot classification: a patch takes the class whose vector is nearest by cosine (Table 6 of PBIP, CVPR 2025).

With the unit vectors :math:`P_{ck}` of class :math:`c` and the feature :math:`f` of a patch:

.. math::
    \hat{c} = \arg\max_c \max_k \frac{f}{|f|} \cdot P_{ck}, \qquad
    \mathrm{F1}_c = \frac{2 n_{cc}}{\sum_j n_{cj} + \sum_i n_{ic}}, \qquad
    \text{macro F1} = \text{mean of } \mathrm{F1}_c \text{ over the classes with patches}.

:math:`n` counts patches, rows truth, columns prediction.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from histoproto.metrics import overlap
from histoproto.metrics.confusion import confusion_matrix
from histoproto.prototypes.from_text import text_prototypes


@dataclass(frozen=True)
class ClassVectors:
    """What patches are compared with."""

    rows: Float[Tensor, "vectors dim"]
    """Vectors of unit length."""
    owners: Int64[Tensor, " vectors"]
    """The class of each, 0..classes-1; a class without a vector is never answered."""


@dataclass(frozen=True)
class Scores:
    """How well the answers fit the labels."""

    f1: tuple[float | None, ...]
    """Of each class, 0..1; None where no patch shows the class or it has no vector."""
    macro_f1: float | None
    """Mean of those that are known."""
    support: tuple[int, ...]
    """Patches of each class that were compared."""
    confusion: tuple[tuple[int, ...], ...]
    """Patches, rows truth, columns answer."""
    left_out: tuple[int, ...]
    """Patches of each class that has no vector: no answer could be right, so they do not count."""


def mean_vectors(groups: Sequence[Float[Tensor, "_members dim"]]) -> ClassVectors:
    """Return one vector per class: the mean of its sentences' or patches' unit vectors, of unit length.

    Args:
        groups: vectors of each class, in class order; a class without any gets no vector.
    """
    filled = {index: vectors for index, vectors in enumerate(groups) if len(vectors)}
    named = {str(index): vectors for index, vectors in filled.items()}
    return ClassVectors(text_prototypes(named, [1] * len(named)), torch.tensor(list(filled)))


def bank_vectors(prototypes: Float[Tensor, "vectors dim"], counts: Sequence[int]) -> ClassVectors:
    """Return the prototypes of an image bank, ``counts[c]`` rows for class ``c``."""
    owners = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return ClassVectors(normalize(prototypes, dim=1), owners)


def nearest_classes(features: Float[Tensor, "patches dim"], vectors: ClassVectors) -> Int64[Tensor, " patches"]:
    """Return the class of the nearest vector by cosine; of several equally near ones, the first."""
    cosines = torch.einsum("pd,vd->pv", normalize(features, dim=1), vectors.rows)
    return vectors.owners[cosines.argmax(1)]


def score(
    answers: Int64[Tensor, " patches"], truth: Int64[Tensor, " patches"], vectors: ClassVectors, classes: int
) -> Scores:
    """Compare the answers with the labels.

    Args:
        answers: what ``nearest_classes`` returned.
        truth: the one class that each patch shows, 0..classes-1.
        vectors: what the answers were chosen from.
        classes: number of classes.
    """
    possible = torch.isin(truth, vectors.owners)
    confusion = confusion_matrix(answers[possible], truth[possible], classes)
    f1 = overlap.dice(confusion)  # with counts of patches instead of pixels, the Dice coefficient is F1
    return Scores(
        f1=tuple(_plain(value) for value in f1),
        macro_f1=_plain(overlap.mean_of_present(f1)),
        support=tuple(overlap.support(confusion).tolist()),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        left_out=tuple(torch.bincount(truth[~possible], minlength=classes).tolist()),
    )


def _plain(value: Tensor) -> float | None:
    return None if bool(value.isnan()) else float(value)
