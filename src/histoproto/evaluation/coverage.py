"""How much better masks are where they are sure: what a threshold on confidence keeps, and how much of it is right."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from histoproto.atomic import replacing
from histoproto.cams.confidence import class_thresholds
from histoproto.metrics.coverage import LEVELS, ConfidenceCounts
from histoproto.metrics.summary import plain

SHARES = tuple(step / 20 for step in range(20, 9, -1))
"""Of the pixels of each class that are kept: from all of them down to half."""


def coverage_curve(counts: ConfidenceCounts, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return what is right among the surest pixels of each class, ready for JSON.

    Args:
        counts: of a split.
        classes: names of the tissue classes.

    Returns:
        For each of ``SHARES`` a row: ``keep`` (asked for), ``kept`` (share of all pixels; equal confidences stay
        together, so it may be more) and ``precision`` over all classes, each cut at its own quantile; and
        ``per_class[name]`` with ``threshold`` (confidence, 0..1), ``kept`` and ``precision``. None where a class is
        never predicted.
    """
    return [_row(counts, classes, keep) for keep in SHARES]


def write_counts(file: Path, counts: ConfidenceCounts, classes: Sequence[str]) -> None:
    """Write ``class, level, right, wrong``, one row for each class and level 0..255, as CSV, atomically."""
    table = pd.DataFrame(
        {
            "class": [name for name in classes for _ in range(LEVELS)],
            "level": [*range(LEVELS)] * len(classes),
            "right": counts.right.flatten().numpy(),
            "wrong": counts.wrong.flatten().numpy(),
        }
    )
    with replacing(file) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def _row(counts: ConfidenceCounts, classes: Sequence[str], keep: float) -> dict[str, Any]:
    thresholds = class_thresholds(counts.pixels, keep)
    found = counts.kept(thresholds)
    predicted = (counts.pixels.sum(1) > 0).tolist()
    return {
        "keep": keep,
        "kept": plain(found.share_of_all),
        "precision": plain(found.precision_of_all),
        "per_class": {
            name: {
                "threshold": int(thresholds[index]) / (LEVELS - 1) if predicted[index] else None,
                "kept": plain(found.share[index]),
                "precision": plain(found.precision[index]),
            }
            for index, name in enumerate(classes)
        },
    }
