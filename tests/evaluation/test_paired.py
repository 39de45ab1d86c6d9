import itertools

import pytest
import torch

from histoproto.evaluation.figures import mean_over
from histoproto.evaluation.paired import holm, permutation_p_value, seeds_p_value

from .simulated import counts_of, two_class_slides

MIOU = mean_over("iou", [0, 1])


@pytest.mark.parametrize("slides", [9, 25])
def test_equal_methods_differ_in_at_most_seven_of_a_hundred_comparisons(slides):
    random = torch.Generator().manual_seed(slides)
    trials, alarms = 400, 0
    for trial in range(trials):
        difficulty = 0.8 + 0.1 * torch.randn(slides, 1, generator=random)  # shared: the comparison is paired
        first, second = (two_class_slides(random, slides, difficulty) for _ in range(2))
        alarms += permutation_p_value([first], [second], MIOU, swaps=500, seed=trial) < 0.05
    assert alarms / trials <= 0.07


def test_a_better_method_is_found():
    random = torch.Generator().manual_seed(4)
    better, worse = two_class_slides(random, 25, 0.9), two_class_slides(random, 25, 0.7)
    assert permutation_p_value([better], [worse], MIOU) < 0.001


def test_with_few_slides_the_p_value_is_that_of_all_swaps():
    random = torch.Generator().manual_seed(6)
    first, second = two_class_slides(random, 5, 0.85), two_class_slides(random, 5, 0.75)

    def difference(swaps):
        sides = [
            (b, a) if swap else (a, b) for swap, a, b in zip(swaps, first.confusion, second.confusion, strict=True)
        ]
        ours, theirs = (sum(side) for side in zip(*sides, strict=True))
        return float(MIOU(counts_of(ours[None])) - MIOU(counts_of(theirs[None])))

    observed = abs(difference([0] * 5))
    every = [abs(difference(swaps)) for swaps in itertools.product((0, 1), repeat=5)]
    expected = sum(value >= observed - 1e-12 for value in every) / 32
    assert permutation_p_value([first], [second], MIOU) == pytest.approx(expected)


def test_with_several_trainings_the_mean_of_their_figures_is_tested_and_not_the_figure_of_their_mean():
    """Two trainings that fail on different tissues: pooled they look better than either."""
    all_first, all_second = [[9, 0, 0], [9, 0, 0], [0, 0, 0]], [[0, 9, 0], [0, 9, 0], [0, 0, 0]]
    fails = [counts_of(torch.tensor([matrix] * 8)) for matrix in (all_first, all_second)]
    fair = [counts_of(torch.tensor([[[7, 2, 0], [2, 7, 0], [0, 0, 0]]] * 8))]
    assert permutation_p_value(fair, fails, MIOU) == pytest.approx(2 / 2**8)


def test_the_same_masks_are_no_better_than_themselves():
    random = torch.Generator().manual_seed(7)
    slides = two_class_slides(random, 30, 0.8)
    assert permutation_p_value([slides], [slides], MIOU) == 1.0


def test_one_slide_has_no_p_value():
    random = torch.Generator().manual_seed(8)
    assert permutation_p_value([two_class_slides(random, 1, 0.8)], [two_class_slides(random, 1, 0.8)], MIOU) is None


def test_the_test_over_seeds_is_paired_where_seeds_are_the_same():
    # differences .02 .03 .01: t = .02 / (.01 / sqrt 3) = 3.4641, two-sided with 2 degrees of freedom
    p_value, name = seeds_p_value({0: 0.82, 1: 0.80, 2: 0.79}, {2: 0.78, 1: 0.77, 0: 0.80})
    assert p_value == pytest.approx(0.07418, abs=1e-4)
    assert name.startswith("paired")
    p_value, name = seeds_p_value({0: 0.82, 1: 0.80, 2: 0.79}, {3: 0.80, 4: 0.77, 5: 0.78})
    assert p_value == pytest.approx(0.18407, abs=1e-4)  # t = 1.6036 with 4 degrees of freedom
    assert name.startswith("Welch")


def test_one_training_of_each_has_no_test_over_seeds():
    assert seeds_p_value({0: 0.8}, {0: 0.7})[0] is None
    assert seeds_p_value({0: 0.8, 1: 0.8}, {0: 0.7, 1: 0.7})[0] is None  # nothing varies


def test_holm_multiplies_the_smallest_by_their_number_and_never_goes_down():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, None, 0.9]) == [1.0, None, 1.0]
    assert holm([]) == []
