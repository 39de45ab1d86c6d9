"""From pixel counts to figures."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from histoproto.metrics import overlap
from histoproto.metrics.boundary import BoundaryCounts, boundary_iou
from histoproto.metrics.counts import BOUNDARY_RATIOS, PixelCounts

MEANS = {"iou": "miou", "dice": "dice", **{f"biou_{ratio}": f"biou_{ratio}" for ratio in BOUNDARY_RATIOS}}
"""What the mean of each measure over classes is called."""


def measures(counts: PixelCounts) -> dict[str, Float64[Tensor, "*stack classes"]]:
    """Return ``iou``, ``dice`` and ``biou_<ratio>`` of each tissue class, fractions 0..1.

    A class is ``nan`` where the truth has no pixel of it. A stack gives figures for each of its members.
    """
    absent = overlap.support(counts.confusion)[..., :-1] == 0
    found = {"iou": overlap.iou(counts.confusion)[..., :-1], "dice": overlap.dice(counts.confusion)[..., :-1]}
    bands = boundary_iou(BoundaryCounts(counts.intersection, counts.union))
    for place, ratio in enumerate(BOUNDARY_RATIOS):
        found[f"biou_{ratio}"] = bands[..., place, :].masked_fill(absent, torch.nan)
    return found


def means(counts: PixelCounts) -> dict[str, Float64[Tensor, "*stack"]]:
    """Return ``miou``, ``dice`` and ``biou_<ratio>`` as plain means over the tissue classes that the truth has."""
    return {MEANS[name]: overlap.mean_of_present(values) for name, values in measures(counts).items()}


def summary(images: PixelCounts, classes: Sequence[str]) -> dict[str, Any]:
    """Return the figures of a stack of images ready for JSON: fractions 0..1, None where there is no value.

    Keys are ``miou``, ``fwiou``, ``dice``, ``biou_<ratio>``, ``pixel_accuracy``, ``images``, ``per_class`` (by
    name: ``iou``, ``dice``, ``biou_<ratio>``, ``support_px``), ``confusion`` (rows truth, columns prediction,
    background last), all from the pooled counts, and ``per_image``: means over images of each image's own
    ``miou``, ``dice`` and ``biou_<ratio>``, images without tissue left out.
    """
    pooled = images.pooled()
    found = measures(pooled)
    support_px = overlap.support(pooled.confusion)[:-1]
    return {
        **{name: plain(value) for name, value in means(pooled).items()},
        "fwiou": plain(overlap.frequency_weighted(found["iou"], support_px)),
        "pixel_accuracy": plain(overlap.pixel_accuracy(pooled.confusion)),
        "images": len(images),
        "per_class": {
            name: {measure: plain(values[index]) for measure, values in found.items()}
            | {"support_px": int(support_px[index])}
            for index, name in enumerate(classes)
        },
        "per_image": {name: plain(values.nanmean()) for name, values in means(images).items()},
        "confusion": pooled.confusion.tolist(),
    }


def plain(value: Float64[Tensor, ""]) -> float | None:
    """Return a figure for JSON: None for ``nan``."""
    return None if bool(value.isnan()) else float(value)
