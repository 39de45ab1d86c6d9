import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histoproto.contracts import Region
from histoproto.slides.areas import AreaOfInterest
from histoproto.slides.patch_choice import Candidate, in_even_order, patch_grid
from histoproto.slides.tissue import Tissue


def square_grid(side):
    return [Candidate(Region(10 * x, 10 * y, 10, 10), 1.0) for y in range(side) for x in range(side)]


@given(st.integers(0, 99), st.sampled_from([0.1, 0.5, 1.0]))
def test_squares_of_the_grid_hold_enough_tissue_and_no_other_does(seed, least_share):
    mask = np.random.default_rng(seed).random((9, 13)) < 0.6
    area = AreaOfInterest(1.0, tissue=Tissue(mask, 4.0))
    found = patch_grid(52, 36, area, 10, least_share)
    pixels = np.kron(mask, np.ones((4, 4)))
    expected = {(x, y): pixels[y : y + 10, x : x + 10].mean() for y in (0, 10, 20) for x in (0, 10, 20, 30, 40)}
    assert {(c.region.x_px, c.region.y_px): pytest.approx(c.tissue_share) for c in found} == {
        place: share for place, share in expected.items() if share >= least_share
    }


@given(st.integers(1, 8), st.integers(1, 80), st.integers(0, 99))
def test_the_order_holds_every_place_once(side, count, seed):
    grid = square_grid(side)
    order = list(in_even_order(grid, count, np.random.default_rng(seed)))
    assert sorted(order) == sorted(grid)


@pytest.mark.parametrize("seed", range(5))
def test_the_first_ones_lie_evenly_and_so_do_those_that_replace_refused_ones(seed):
    order = list(in_even_order(square_grid(8), 4, np.random.default_rng(seed)))
    for four in (order[:4], order[4:8], order[8:12]):
        assert len({(place.region.x_px >= 40, place.region.y_px >= 40) for place in four}) == 4


def test_nothing_is_in_no_order():
    assert list(in_even_order([], 1, np.random.default_rng(0))) == []
