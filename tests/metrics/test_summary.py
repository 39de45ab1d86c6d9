from statistics import fmean

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from histoproto.errors import DataError
from histoproto.metrics.counts import BOUNDARY_RATIOS, PixelCounts, count_image
from histoproto.metrics.summary import means, summary

from .brute_force import figures

NAMES = ("TUM", "STR", "LYM")
WHITE = len(NAMES)


@st.composite
def image_pairs(draw):
    """Return one to three pairs of blotchy masks of any size, with white and unknown pixels."""
    pairs = []
    for _ in range(draw(st.integers(1, 3))):
        height, width, cell = draw(st.integers(1, 24)), draw(st.integers(1, 24)), draw(st.integers(1, 9))
        values = st.sampled_from([0, 1, 2, WHITE, 255] if draw(st.booleans()) else [0, 1, WHITE])
        cells = st.lists(values, min_size=height * width, max_size=height * width)
        prediction, truth = (
            torch.tensor(draw(cells), dtype=torch.uint8)
            .reshape(height, width)
            .repeat_interleave(cell, 0)
            .repeat_interleave(cell, 1)[:height, :width]
            for _ in range(2)
        )
        agreement = torch.arange(height)[:, None] < draw(st.integers(0, height))
        pairs.append((torch.where(agreement, truth, prediction), truth))
    return pairs


def accumulate(pairs, background="ignored"):
    images = [count_image(prediction, truth, len(NAMES), background) for prediction, truth in pairs]
    return summary(PixelCounts.stacked(images), NAMES)


def mean_or_none(values):
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


@pytest.mark.parametrize("background", ["ignored", "counted"])
@pytest.mark.parametrize("ratio", BOUNDARY_RATIOS)
@settings(max_examples=40, deadline=None)
@given(pairs=image_pairs())
def test_the_summary_equals_loops_over_pixels(background, ratio, pairs):
    expected = figures([(p.tolist(), t.tolist()) for p, t in pairs], len(NAMES), background, ratio)
    found = accumulate(pairs, background)
    for name, values in zip(NAMES, expected["per_class"], strict=True):
        for key, value in values.items():
            assert found["per_class"][name][key] == pytest.approx(value, abs=1e-12), (name, key)
    for key, measure in (("miou", "iou"), ("dice", "dice"), (f"biou_{ratio}", f"biou_{ratio}")):
        mean = mean_or_none([values[measure] for values in expected["per_class"]])
        assert found[key] == pytest.approx(mean, abs=1e-12)
    assert found["pixel_accuracy"] == pytest.approx(expected["pixel_accuracy"])
    weights = [values["support_px"] for values in expected["per_class"]]
    weighted = sum(w * (v["iou"] or 0) for w, v in zip(weights, expected["per_class"], strict=True))
    assert found["fwiou"] == (pytest.approx(weighted / sum(weights)) if sum(weights) else None)


def test_a_perfect_prediction_scores_one_under_both_rules():
    truth = torch.randint(0, 4, (40, 30), generator=torch.manual_seed(3)).to(torch.uint8)
    for background in ("ignored", "counted"):
        found = accumulate([(truth, truth)], background)
        for key in ("miou", "dice", "fwiou", "pixel_accuracy", "biou_0.02", "biou_0.005"):
            assert found[key] == 1.0


def test_white_named_as_tissue_counts_only_where_background_counts():
    truth = torch.tensor([[0, 0, WHITE, WHITE]])
    prediction = torch.zeros(1, 4, dtype=torch.int64)
    assert accumulate([(prediction, truth)], "ignored")["per_class"]["TUM"]["iou"] == 1.0
    assert accumulate([(prediction, truth)], "counted")["per_class"]["TUM"]["iou"] == 0.5


@pytest.mark.parametrize("background", ["ignored", "counted"])
def test_tissue_named_as_white_or_undecided_is_a_miss(background):
    truth = torch.zeros(1, 4, dtype=torch.int64)
    prediction = torch.tensor([[0, 0, WHITE, 255]])
    assert accumulate([(prediction, truth)], background)["per_class"]["TUM"]["iou"] == 0.5


def test_a_class_absent_from_the_truth_has_no_value_and_is_left_out_of_means():
    truth = torch.tensor([[0, 0, 0, 0]])
    prediction = torch.tensor([[0, 0, 0, 1]])
    found = accumulate([(prediction, truth)])
    stroma = found["per_class"]["STR"]
    absent = {"iou": None, "dice": None, "biou_0.02": None, "biou_0.005": None, "support_px": 0}
    assert stroma == absent
    assert found["miou"] == 0.75


def test_without_any_tissue_every_figure_is_none_rather_than_zero():
    white = torch.full((5, 5), WHITE)
    found = accumulate([(white, white)])
    assert [found[key] for key in ("miou", "fwiou", "dice", "biou_0.02", "pixel_accuracy")] == [None] * 5


def test_figures_are_pooled_over_pixels_and_not_averaged_over_images():
    small_wrong = (torch.ones(1, 10, dtype=torch.int64), torch.zeros(1, 10, dtype=torch.int64))
    large_right = (torch.zeros(9, 10, dtype=torch.int64), torch.zeros(9, 10, dtype=torch.int64))
    assert accumulate([small_wrong, large_right])["per_class"]["TUM"]["iou"] == 0.9


def test_the_mean_over_images_gives_every_image_the_same_weight():
    small_wrong = (torch.ones(1, 10, dtype=torch.int64), torch.zeros(1, 10, dtype=torch.int64))
    large_right = (torch.zeros(9, 10, dtype=torch.int64), torch.zeros(9, 10, dtype=torch.int64))
    white = (torch.full((3, 3), WHITE), torch.full((3, 3), WHITE))
    assert accumulate([small_wrong, large_right, white])["per_image"]["miou"] == 0.5


def test_counts_of_images_are_whole_numbers_that_add_up():
    first = count_image(torch.tensor([[2, 2]]), torch.tensor([[2, 2]]), 3, "ignored")
    second = count_image(torch.tensor([[0, 1, 1, 1]]), torch.tensor([[0, 0, 1, 255]]), 3, "ignored")
    assert second.confusion.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    both = PixelCounts.stacked([first, second])
    assert both.confusion.dtype == torch.int64
    assert both.pooled().confusion.sum() == 5
    assert means(both)["miou"].tolist() == [1.0, 0.5]


def test_weighted_sums_count_an_image_as_often_as_it_was_drawn():
    first = count_image(torch.tensor([[2, 2]]), torch.tensor([[2, 2]]), 3, "counted")
    second = count_image(torch.tensor([[0, 1]]), torch.tensor([[0, 0]]), 3, "counted")
    drawn = PixelCounts.stacked([first, second]).weighted(torch.tensor([[2, 0], [1, 1]]))
    assert drawn.confusion[0].sum() == 4
    assert drawn.confusion[0, 2, 2] == 4
    assert torch.equal(drawn.union[1], (first.union + second.union).double())


def test_a_value_that_is_no_class_is_refused():
    with pytest.raises(DataError, match=r"true mask holds value 7, but only 0\.\.3"):
        count_image(torch.zeros(1, 1, dtype=torch.uint8), torch.tensor([[7]]), len(NAMES), "counted")
