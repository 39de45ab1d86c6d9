"""Which patches to cut from a slide: on a grid over tissue, at random, evenly over the slide."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from histoproto.contracts import Region
from histoproto.slides.areas import AreaOfInterest


class Candidate(NamedTuple):
    """A place where a patch could be cut."""

    region: Region
    """In pixels at the resolution of the patches."""
    tissue_share: float
    """Share of its pixels that count, 0..1."""


def patch_grid(
    width_px: int, height_px: int, area: AreaOfInterest, size_px: int, least_share: float
) -> list[Candidate]:
    """Return the squares of a grid without overlap that lie on enough tissue, row by row.

    Args:
        width_px: width of the slide at the resolution of the patches.
        height_px: its height.
        area: what counts, at that resolution.
        size_px: side of a square.
        least_share: share of its pixels that have to count, above 0.
    """
    squares = (
        Region(x, y, size_px, size_px)
        for y in range(0, height_px - size_px + 1, size_px)
        for x in range(0, width_px - size_px + 1, size_px)
    )
    candidates = (Candidate(square, float(area.pixels(square).mean())) for square in squares if area.touches(square))
    return [candidate for candidate in candidates if candidate.tissue_share >= least_share]


def in_even_order(candidates: Sequence[Candidate], count: int, generator: np.random.Generator) -> Iterator[Candidate]:
    """Yield all candidates so that the first ``count`` lie evenly over the tissue, and so do those that follow.

    Candidates are ordered along a curve that keeps neighbours together (Morton's) and divided into ``count`` groups of
    equal size; each group gives one at random, in rounds.

    Args:
        candidates: squares of one grid.
        count: how many are wanted, 1 or more.
        generator: source of the choice.
    """
    order = sorted(candidates, key=_place_on_curve)
    groups = [order[part[0] : part[-1] + 1] for part in np.array_split(np.arange(len(order)), count) if len(part)]
    shuffled = [[group[place] for place in generator.permutation(len(group))] for group in groups]
    for turn in range(max(map(len, shuffled), default=0)):
        for group in generator.permutation(len(shuffled)):
            if turn < len(shuffled[group]):
                yield shuffled[group][turn]


def _place_on_curve(candidate: Candidate) -> int:
    """Return column and row on the grid with their bits interleaved."""
    region = candidate.region
    column, row = region.x_px // region.width_px, region.y_px // region.height_px
    return sum(((column >> bit) & 1) << (2 * bit) | ((row >> bit) & 1) << (2 * bit + 1) for bit in range(24))
