"""All figures of a split with their intervals, as ``eval/metrics.json`` holds them."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from histoproto.evaluation.bootstrap import DRAWS, FEWEST_GROUPS, LEVEL, Figure, Interval, interval, resampled
from histoproto.evaluation.split_counts import MAIN, SplitCounts
from histoproto.metrics import overlap
from histoproto.metrics.counts import PixelCounts
from histoproto.metrics.summary import MEANS, measures, plain, summary


def all_figures(counts: SplitCounts, classes: Sequence[str], chosen: Sequence[int] = ()) -> dict[str, Any]:
    """Return the figures by gate and background rule.

    Args:
        counts: of a split.
        classes: names of the tissue classes.
        chosen: indices of classes to average in a figure of their own, ``miou[name,name]``.

    Returns:
        ``results[gate][background]`` as ``metrics.summary.summary`` gives them, with ``interval`` beside: ``[low,
        high]`` of ``miou``, ``dice``, ``biou_<ratio>`` and of each class's ``iou`` (``iou[name]``), None without
        one; ``variants[variant]`` the same for other ways to make the masks; ``uncertainty``, how the intervals
        were made.
    """
    variants: dict[str, dict[str, dict[str, Any]]] = {}
    for rule, of_images in counts.counts.items():
        figures = summary(of_images, classes)
        extra = {f"miou[{','.join(classes[index] for index in chosen)}]": mean_over("iou", chosen)} if chosen else {}
        figures |= {name: plain(figure(of_images.pooled())) for name, figure in extra.items()}
        if rule.variant == MAIN:
            figures["interval"] = _intervals(counts.by_group(rule), classes, extra)
        variants.setdefault(rule.variant, {}).setdefault(rule.gate, {})[rule.background] = figures
    main = variants.pop(MAIN)
    groups = len(dict.fromkeys(counts.groups))
    return {
        "results": main,
        "variants": variants,
        "uncertainty": {
            "level": LEVEL,
            "draws": DRAWS,
            "resampled": "images" if groups == len(counts.images) else "groups (slides or patients)",
            "number": groups,
            "rule": "expanded percentile interval of the pooled figure",
        },
    }


def mean_over(measure: str, members: Sequence[int]) -> Figure:
    """Return a figure: the mean of a measure over some classes, ``nan`` where one of them has no value.

    Args:
        measure: ``iou``, ``dice`` or ``biou_<ratio>``.
        members: indices of the classes.
    """

    def figure(counts: PixelCounts) -> Float64[Tensor, "*draws"]:
        return measures(counts)[measure][..., list(members)].mean(-1)

    return figure


def interval_of(drawn: Float64[Tensor, " draws"], groups: PixelCounts, members: Sequence[int]) -> Interval | None:
    """Return the interval of a figure over some classes; None where too few groups hold one of them.

    Args:
        drawn: the figure of each resampled split.
        groups: counts of each group, stacked.
        members: the classes that the figure is about.
    """
    holding = (overlap.support(groups.confusion)[:, list(members)] > 0).sum(0)
    return interval(drawn, len(groups)) if int(holding.min()) >= FEWEST_GROUPS else None


def present_classes(counts: PixelCounts) -> list[int]:
    """Return the tissue classes that the truth of a stack of images has."""
    support_px = overlap.support(counts.pooled().confusion)[:-1]
    return torch.nonzero(support_px).flatten().tolist()


def _intervals(groups: PixelCounts, classes: Sequence[str], extra: dict[str, Figure]) -> dict[str, list[float] | None]:
    present = present_classes(groups)
    if not present:
        return {}
    drawn = resampled(groups)
    means = {name: mean_over(measure, present) for measure, name in MEANS.items()} | extra
    found = {name: interval_of(figure(drawn), groups, present) for name, figure in means.items()}
    for index in present:
        found[f"iou[{classes[index]}]"] = interval_of(mean_over("iou", [index])(drawn), groups, [index])
    return {name: None if ends is None else [ends.low, ends.high] for name, ends in found.items()}
