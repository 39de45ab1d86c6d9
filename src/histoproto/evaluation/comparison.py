"""Several evaluated runs on the same images: who is better, and is it real?"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from histoproto.errors import RunError
from histoproto.evaluation.bootstrap import Figure, interval_over_seeds, resampled
from histoproto.evaluation.figures import interval_of, mean_over, present_classes
from histoproto.evaluation.paired import holm, permutation_p_value, seeds_p_value, smallest_p_value
from histoproto.evaluation.split_counts import MAIN, Rule, SplitCounts
from histoproto.metrics.counts import PixelCounts

ALPHA = 0.05
"""A difference is called real below this corrected p-value."""


@dataclass(frozen=True)
class EvaluatedRun:
    """A run with the counts of its evaluation."""

    path: Path
    method: str
    seed: int | None
    split: str
    classes: tuple[str, ...]
    counts: SplitCounts
    refine: str = "unknown"
    """Refiner of its masks."""

    @property
    def rule(self) -> Rule:
        """The rule that it is compared under: the model's own gate, or that of foreign masks; background ignored."""
        gates = dict.fromkeys(rule.gate for rule in self.counts.counts if rule.variant == MAIN)
        return Rule(MAIN, "predicted" if "predicted" in gates else next(iter(gates)), "ignored")

    @property
    def groups(self) -> PixelCounts:
        """Counts of each group under ``rule``, stacked."""
        return self.counts.by_group(self.rule)


@dataclass(frozen=True)
class Arm:
    """Trainings of one method that differ in their seed."""

    name: str
    runs: tuple[EvaluatedRun, ...]

    @property
    def groups(self) -> list[PixelCounts]:
        """Counts of each group, stacked, for each training."""
        return [run.groups for run in self.runs]

    def drawn(self, figure: Figure) -> Float64[Tensor, " draws"]:
        """Return the mean of a figure over the trainings, on each resampled split; the same splits for every arm."""
        return torch.stack([figure(resampled(groups)) for groups in self.groups]).mean(0)


def arms_of(runs: Sequence[EvaluatedRun]) -> list[Arm]:
    """Sort runs into arms: those of one method whose paths are equal up to a number at the end are seeds of one arm.

    Raises:
        RunError: if two runs of an arm have the same seed.
    """
    keys = [(re.sub(r"[-_]?\d+$", "", str(run.path.absolute())), run.method) for run in runs]
    shared = os.path.commonpath([str(Path(key).parent) for key, _ in keys])
    members: dict[tuple[str, str], list[EvaluatedRun]] = {}
    for key, run in zip(keys, runs, strict=True):
        members.setdefault(key, []).append(run)
    for some in members.values():
        seeds = [run.seed for run in some if run.seed is not None]  # masks made elsewhere tell none
        if len(set(seeds)) < len(seeds):
            raise RunError(
                f"{some[0].path} and the runs named like it have seeds {', '.join(map(str, seeds))}: two trainings "
                "with one seed are one training; name the others differently, or leave them out"
            )
    return [Arm(os.path.relpath(key, shared), tuple(some)) for (key, _), some in members.items()]


def check_comparable(runs: Sequence[EvaluatedRun]) -> None:
    """Prove that all runs were evaluated on the same images with the same classes.

    Raises:
        RunError: naming the first run that was not.
    """
    first, *others = runs
    for other in others:
        if other.classes != first.classes:
            raise RunError(
                f"{first.path} has classes {', '.join(first.classes)}, {other.path} has {', '.join(other.classes)}; "
                "only runs of one taxonomy can be compared"
            )
        if other.split != first.split:
            raise RunError(
                f"{first.path} was evaluated on {first.split}, {other.path} on {other.split}; evaluate one of them "
                f"again: histoproto evaluate {other.path} --split {first.split}"
            )
        ours, theirs = (set(run.counts.images) for run in (first, other))
        if ours != theirs:
            raise RunError(
                f"{first.path} and {other.path} were evaluated on different images ({len(ours - theirs)} only in the "
                f"first, {len(theirs - ours)} only in the second, {len(ours & theirs)} in both); evaluate both on "
                "the same study"
            )
        if other.counts.images != first.counts.images:
            raise RunError(f"{first.path} and {other.path} list their images in another order; evaluate both again")


def compare(runs: Sequence[EvaluatedRun], chosen: Sequence[int] = ()) -> dict[str, Any]:
    """Compare the first run's arm with each other arm.

    Args:
        runs: the first one belongs to the arm that the others are compared with.
        chosen: classes to average; none means all that the truth has.

    Returns:
        ``classes`` (names averaged), ``rule`` (gate of each arm), ``groups`` (how many) and ``alpha``; ``arms`` with
        ``name``, ``method``, ``runs``, ``miou`` (0..1, mean of the trainings), ``interval`` over groups, ``by_run`` and
        ``interval_over_seeds``; ``differences``, one for each further arm, with ``difference`` (first minus other), its
        ``interval``, ``p_images``, ``p_seeds``, both also corrected (``..._holm``), ``seeds_test`` and a ``verdict`` in
        words; ``cautions`` where the arms' masks were made under different protocols.

    Raises:
        RunError: if the runs cannot be compared, or are all of one arm.
    """
    check_comparable(runs)
    arms = arms_of(runs)
    if len(arms) < 2:
        raise RunError(
            f"{runs[0].path} and the runs to compare it with are {len(runs)} seeds of one method ({arms[0].name}); "
            "give a run of another method, or in a folder of another name"
        )
    classes = runs[0].classes
    members = list(chosen) or present_classes(arms[0].groups[0])
    figure = mean_over("iou", members)
    first, *others = arms
    rows = [_difference(first, other, members) for other in others]
    smallest = smallest_p_value(len(first.groups[0])) * len(others)
    for kind in ("p_images", "p_seeds"):
        for row, corrected in zip(rows, holm([row[kind] for row in rows]), strict=True):
            row[f"{kind}_holm"] = corrected
    return {
        "classes": [classes[index] for index in members],
        "rule": {arm.name: arm.runs[0].rule.gate for arm in arms},
        "groups": len(first.groups[0]),
        "alpha": ALPHA,
        "arms": [
            {
                "name": arm.name,
                "method": arm.runs[0].method,
                "runs": [str(run.path) for run in arm.runs],
                "miou": fmean(_by_run(arm, members)),
                "interval": _ends(interval_of(arm.drawn(figure), arm.groups[0], members)),
                "by_run": _by_run(arm, members),
                "interval_over_seeds": _ends(interval_over_seeds(_by_run(arm, members))),
            }
            for arm in arms
        ],
        "differences": [{**row, "verdict": verdict(row, smallest)} for row in rows],
        "cautions": _cautions(arms),
    }


def _by_run(arm: Arm, members: Sequence[int]) -> list[float]:
    figure = mean_over("iou", members)
    return [float(figure(run.groups.pooled())) for run in arm.runs]


def _by_seed(arm: Arm, members: Sequence[int]) -> dict[int, float]:
    figures = _by_run(arm, members)
    return {
        run.seed if run.seed is not None else -1 - place: value
        for place, (run, value) in enumerate(zip(arm.runs, figures, strict=True))
    }


def _difference(first: Arm, other: Arm, members: Sequence[int]) -> dict[str, Any]:
    figure = mean_over("iou", members)
    drawn = first.drawn(figure) - other.drawn(figure)
    p_seeds, test = seeds_p_value(_by_seed(first, members), _by_seed(other, members))
    return {
        "first": first.name,
        "other": other.name,
        "difference": fmean(_by_run(first, members)) - fmean(_by_run(other, members)),
        "interval": _ends(interval_of(drawn, first.groups[0], members)),
        "p_images": permutation_p_value(first.groups, other.groups, figure),
        "p_seeds": p_seeds,
        "seeds_test": test,
    }


def _ends(found: Any) -> list[float] | None:
    return None if found is None else [found.low, found.high]


def _cautions(arms: Sequence[Arm]) -> list[str]:
    """Say where the arms' masks were not made under one protocol."""
    first = arms[0]
    return [
        f"{arm.name} and {first.name} differ in more than the method: {what} {theirs} against {ours}."
        for arm in arms[1:]
        for what, ours, theirs in (
            ("gate", first.runs[0].rule.gate, arm.runs[0].rule.gate),
            ("refiner", first.runs[0].refine, arm.runs[0].refine),
        )
        if ours != theirs
    ]


def verdict(row: dict[str, Any], smallest: float = 0.0) -> str:
    """Say in words what a row of ``differences`` means.

    Args:
        row: of ``differences``.
        smallest: least corrected p-value over images that there could be with so many groups.
    """
    first, other, gap = row["first"], row["other"], row["difference"]
    higher = f"{first} is {abs(gap):.3f} {'above' if gap >= 0 else 'below'} {other}"
    if row["interval"] is not None:
        higher += f" (95 % interval {row['interval'][0]:+.3f} to {row['interval'][1]:+.3f})"
    over_images, over_seeds = row["p_images_holm"], row["p_seeds_holm"]
    if over_images is None:
        return f"{higher}; a single slide or patient cannot tell whether that is real."
    if smallest >= ALPHA:
        least = f"p cannot fall below {smallest:.2g}"
        return f"{higher}; so few slides or patients cannot tell whether that is real ({least})."
    if over_images >= ALPHA:
        return (
            f"{higher}, but swapping their masks between slides gives as much by chance (p = {over_images:.3g}): "
            "no difference shown on these images."
        )
    images = f"{higher}, and on these images that is no accident (p = {over_images:.3g})"
    if over_seeds is None:
        return f"{images}; whether it holds when both are trained again is open: train at least two seeds of each."
    if over_seeds >= ALPHA:
        return f"{images}, but trainings with other seeds differ as much (p = {over_seeds:.3g}): not shown to be real."
    return f"{images}, nor is it one of the seeds (p = {over_seeds:.3g}): the difference is real."
