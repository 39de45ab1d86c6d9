r"""How far a figure could be off: bootstrap over slides or patients.

Pixels of one slide are alike, and so are its patches, so what is drawn anew is the *group* (slide or patient): each
draw takes as many groups as there are, with replacement, pools their pixel counts and computes the figure again.
With :math:`n` groups the interval of level :math:`1 - \alpha` holds the draws' quantiles from :math:`\alpha'/2`
to :math:`1 - \alpha'/2`, where

.. math:: \alpha'/2 = \Phi\left(-\sqrt{n / (n - 1)}\; t_{n-1,\,1-\alpha/2}\right) .

This *expanded percentile interval* repairs that plain percentiles are too narrow for few groups (Hesterberg, *What
Teachers Should Know About the Bootstrap*, The American Statistician 69, 2015, section 4.2).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float64
from scipy import stats
from torch import Tensor

from histoproto.metrics.counts import PixelCounts

LEVEL = 0.95
DRAWS = 2000
FEWEST_GROUPS = 5
"""Below this many groups, or groups that hold a class, there is no interval."""

Figure = Callable[[PixelCounts], Float64[Tensor, "*draws"]]
"""From a stack of pooled counts to one figure each, ``nan`` where there is none."""


class Interval(NamedTuple):
    """Where a figure plausibly lies."""

    low: float
    high: float


def resampled(groups: PixelCounts, draws: int = DRAWS, seed: int = 0) -> PixelCounts:
    """Return the pooled counts of ``draws`` resampled splits, stacked.

    Args:
        groups: counts of each group, stacked.
        draws: number of resampled splits.
        seed: of the draws.
    """
    random, number = torch.Generator().manual_seed(seed), len(groups)
    times = torch.zeros(draws, number)
    for row in times:
        row += torch.randint(number, (number,), generator=random).bincount(minlength=number)
    return groups.weighted(times)


def interval(drawn: Float64[Tensor, " draws"], groups: int, level: float = LEVEL) -> Interval | None:
    """Return the expanded percentile interval.

    Args:
        drawn: the figure of each resampled split; ``nan`` (a class was not drawn) is left out.
        groups: number of groups that were resampled.
        level: share of such intervals that should hold the true figure.

    Returns:
        None below ``FEWEST_GROUPS`` groups, or where no draw has the figure.
    """
    known = drawn[~drawn.isnan()]
    if groups < FEWEST_GROUPS or not len(known):
        return None
    quantile = stats.t.ppf((1 + level) / 2, groups - 1) * math.sqrt(groups / (groups - 1))
    tail = float(stats.norm.cdf(-quantile))
    low, high = known.quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Interval(low, high)


def interval_over_seeds(figures: list[float], level: float = LEVEL) -> Interval | None:
    """Return Student's interval, within 0..1, for the mean over trainings of other seeds; None for one training."""
    if len(figures) < 2:
        return None
    centre, spread = torch.tensor(figures, dtype=torch.float64).mean(), torch.tensor(figures).double().std()
    reach = float(stats.t.ppf((1 + level) / 2, len(figures) - 1) * spread / math.sqrt(len(figures)))
    return Interval(max(0.0, float(centre) - reach), min(1.0, float(centre) + reach))
