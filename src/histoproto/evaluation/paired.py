r"""Is one method really better than another on the same images?

*Over images*, the paired permutation test: if two methods were equally good, it would not matter which of them made
the masks of a slide. So for each group both sets of masks are swapped or left at random, and

.. math:: p = \frac{1 + \#\{|d_\pi| \ge |d|\}}{1 + \text{number of swaps}}

with :math:`d` the difference of the pooled figures. With few groups all :math:`2^n` swaps are made, and the
observed one is among them, so nothing is added (Fisher; Good, *Permutation Tests*, 2000).

*Over seeds*, the t-test that the papers report: paired where both methods were trained with the same seeds, Welch's
otherwise.

Several comparisons at once are corrected by Holm's step-down rule (Scandinavian Journal of Statistics 6, 1979).
"""

from collections.abc import Mapping, Sequence
from itertools import product

import torch
from scipy import stats
from torch import Tensor

from histoproto.evaluation.bootstrap import Figure
from histoproto.metrics.counts import PixelCounts

SWAPS = 10_000
"""Random swaps, and up to how many all of them are made."""


def permutation_p_value(
    first: Sequence[PixelCounts], second: Sequence[PixelCounts], figure: Figure, swaps: int = SWAPS, seed: int = 0
) -> float | None:
    """Return the two-sided p-value of the paired permutation test.

    What is compared is the mean of the figure over the trainings of each method; a swap changes the sides of a group in
    every pair of a training of one method and a training of the other.

    Args:
        first: counts of each group, stacked, for each training of one method.
        second: the same of the other method; the number of trainings may differ.
        figure: what is compared, of pooled counts.
        swaps: how many random swaps.
        seed: of the swaps.

    Returns:
        None with a single group, or where a method has no such figure.
    """
    groups = len(first[0])
    observed = _difference(first, second, figure, torch.zeros(1, groups))
    if groups < 2 or bool(observed.isnan()):
        return None
    everything = 2**groups <= swaps
    swapped = _all_swaps(groups) if everything else _random_swaps(groups, swaps, seed)
    differences = _difference(first, second, figure, swapped)
    known = differences[~differences.isnan()]
    as_large = int((known.abs() >= observed.abs() * (1 - 1e-12)).sum())
    return as_large / len(known) if everything else (1 + as_large) / (1 + len(known))


def seeds_p_value(first: Mapping[int, float], second: Mapping[int, float]) -> tuple[float | None, str]:
    """Return the two-sided p-value of the t-test over seeds, and which test it is.

    Args:
        first: figure by seed.
        second: the same of the other method.
    """
    if min(len(first), len(second)) < 2:
        return None, "one training each: no test over seeds"
    paired = first.keys() == second.keys()
    name = "paired t-test over seeds" if paired else "Welch's t-test over seeds"
    ours = list(first.values())
    theirs = [second[seed] for seed in first] if paired else list(second.values())
    varies = {one - other for one, other in zip(ours, theirs, strict=True)} if paired else {*ours, *theirs}
    if len(varies) == 1:
        return None, f"{name}: nothing varies"
    test = stats.ttest_rel(ours, theirs) if paired else stats.ttest_ind(ours, theirs, equal_var=False)
    return float(test.pvalue), name


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values corrected for their number, in the same order; None (no test) is left alone."""
    tested = sorted((value, place) for place, value in enumerate(p_values) if value is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (value, place) in enumerate(tested):
        highest = max(highest, min(1.0, (len(tested) - rank) * value))
        corrected[place] = highest
    return corrected


def smallest_p_value(groups: int) -> float:
    """Return the least p-value that the permutation test can give: nothing swapped, and everything."""
    return 2 / 2**groups if 2**groups <= SWAPS else 1 / (1 + SWAPS)


def _difference(first: Sequence[PixelCounts], second: Sequence[PixelCounts], figure: Figure, swapped: Tensor) -> Tensor:
    """Return first minus second for each row of ``swapped`` (1 where a group changes sides)."""
    kept = 1 - swapped
    of_pairs = [
        figure(_mixed(ours, kept, theirs, swapped)) - figure(_mixed(ours, swapped, theirs, kept))
        for ours, theirs in product(first, second)
    ]
    return torch.stack(of_pairs).mean(0)


def _mixed(first: PixelCounts, share: Tensor, second: PixelCounts, other_share: Tensor) -> PixelCounts:
    ours, theirs = first.weighted(share), second.weighted(other_share)
    return PixelCounts(
        ours.confusion + theirs.confusion, ours.intersection + theirs.intersection, ours.union + theirs.union
    )


def _all_swaps(groups: int) -> Tensor:
    return torch.arange(2**groups)[:, None] >> torch.arange(groups) & 1


def _random_swaps(groups: int, swaps: int, seed: int) -> Tensor:
    return torch.randint(2, (swaps, groups), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
