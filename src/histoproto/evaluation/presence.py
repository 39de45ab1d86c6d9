r"""How well a run knows which tissues an image has: ranking, thresholds and calibration.

The gate's thresholds come from labelled patches that were kept out of training; here they are only judged.

*Calibration*: the pooled score is a logit, so its sigmoid claims a probability. Images are sorted into ten bins of
claimed probability, and with :math:`n_b` of :math:`n` images in bin :math:`b`, mean claim :math:`q_b` and share of
images that do have the tissue :math:`f_b`,

.. math:: \mathrm{ECE} = \sum_b \frac{n_b}{n} |f_b - q_b|, \qquad
          \mathrm{Brier} = \frac1n \sum_i (q_i - y_i)^2

(expected calibration error: Naeini et al., AAAI 2015; Brier, Monthly Weather Review 78, 1950).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.metrics import average_precision_score, f1_score

BINS = 10
"""Bins of the reliability curve, equally wide."""


class Presence(NamedTuple):
    """Pooled scores and truth of a split, image by image."""

    scores: NDArray[np.float64]
    """``(images, classes)``: highest pooled score (logit) of each class in each image."""
    truths: NDArray[np.bool_]
    """``(images, classes)``: whether the true mask has the class."""

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Claimed probability that the image has the class, 0..1."""
        claimed: NDArray[np.float64] = expit(self.scores)
        return claimed

    def allowed(self, thresholds: tuple[float, ...]) -> NDArray[np.bool_]:
        """Return which classes a gate lets into each image somewhere; the strongest class always is."""
        within: NDArray[np.bool_] = self.scores >= np.asarray(thresholds)
        strongest: NDArray[np.bool_] = self.scores == self.scores.max(1, keepdims=True)
        return within | strongest


def judge_presence(presence: Presence, classes: tuple[str, ...], thresholds: tuple[float, ...]) -> dict[str, Any]:
    """Return average precision, F1 at the gate's thresholds and calibration, ready for JSON.

    Args:
        presence: of a split.
        classes: names of the classes.
        thresholds: of the gate, logits.

    Returns:
        ``per_class[name]`` with ``ap``, ``f1``, ``ece``, ``brier``, ``threshold``, ``images`` (those that have it),
        None where all images or no image has the class; ``mean`` of each over the classes that have it; and
        ``reliability``, one row for each bin with an image, over all classes together.
    """
    allowed, probabilities = presence.allowed(thresholds), presence.probabilities
    per_class: dict[str, dict[str, float | int | None]] = {}
    for index, name in enumerate(classes):
        truth, claimed = presence.truths[:, index], probabilities[:, index]
        both = 0 < truth.sum() < len(truth)
        per_class[name] = {
            "ap": float(average_precision_score(truth, presence.scores[:, index])) if both else None,
            "f1": float(f1_score(truth, allowed[:, index], zero_division=0.0)) if both else None,
            "ece": calibration_error(claimed, truth),
            "brier": float(np.mean((claimed - truth) ** 2)),
            "threshold": thresholds[index] if np.isfinite(thresholds[index]) else None,
            "images": int(truth.sum()),
        }
    return {
        "per_class": per_class,
        "mean": {measure: _mean([row[measure] for row in per_class.values()]) for measure in MEASURES},
        "reliability": reliability(probabilities.ravel(), presence.truths.ravel()),
    }


MEASURES = ("ap", "f1", "ece", "brier")


def reliability(claimed: NDArray[np.float64], truth: NDArray[np.bool_]) -> list[dict[str, float | int]]:
    """Return the reliability curve.

    Args:
        claimed: probabilities, 0..1.
        truth: whether it was so, one for each of ``claimed``.

    Returns:
        For each bin that has any: ``from``, ``to``, ``claimed`` (mean), ``true`` (share), ``images``.
    """
    bins = np.minimum((claimed * BINS).astype(np.int64), BINS - 1)
    return [
        {
            "from": index / BINS,
            "to": (index + 1) / BINS,
            "claimed": float(claimed[bins == index].mean()),
            "true": float(truth[bins == index].mean()),
            "images": int((bins == index).sum()),
        }
        for index in range(BINS)
        if (bins == index).any()
    ]


def calibration_error(claimed: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Return the expected calibration error, 0 (claims come true) .. 1."""
    rows = reliability(claimed, truth)
    return sum(row["images"] / len(claimed) * abs(row["true"] - row["claimed"]) for row in rows)


def _mean(values: list[float | int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
