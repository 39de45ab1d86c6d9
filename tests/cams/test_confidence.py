import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from histoproto.cams.confidence import LEVELS, class_thresholds, confidence_histogram


def histogram(*classes):
    """Return a histogram from levels with their numbers of pixels, one dictionary for each class."""
    counts = torch.zeros(len(classes), LEVELS, dtype=torch.int64)
    for row, pixels in enumerate(classes):
        for level, number in pixels.items():
            counts[row, level] = number
    return counts


TEN = {10: 4, 100: 3, 200: 2, 255: 1}


@pytest.mark.parametrize(
    ("keep", "threshold"), [(1.0, 10), (0.7, 10), (0.61, 10), (0.6, 100), (0.3, 200), (0.1, 255), (0.01, 255)]
)
def test_the_least_level_that_stays_is_that_of_the_last_pixel_needed(keep, threshold):
    assert class_thresholds(histogram(TEN), keep).tolist() == [threshold]


def test_each_class_has_its_own_threshold():
    unsure, sure = {20: 5, 40: 5}, {200: 5, 250: 5}
    assert class_thresholds(histogram(unsure, sure), 0.5).tolist() == [40, 250]


def test_equal_confidences_stay_together():
    assert class_thresholds(histogram({7: 1000}), 0.1).tolist() == [7]


def test_a_class_without_pixels_gets_the_lowest_level():
    assert class_thresholds(histogram({}, TEN), 0.5).tolist() == [0, 100]


@pytest.mark.parametrize("percent", range(1, 101))
def test_a_share_that_can_be_met_exactly_is_met_exactly(percent):
    """0.55 * 100 is 55.00000000000001: asked for so many, one pixel too many would stay."""
    hundred = histogram(dict.fromkeys(range(100), 1))
    assert class_thresholds(hundred, percent / 100).tolist() == [100 - percent]


@given(levels=st.lists(st.integers(0, 255), min_size=1, max_size=60), keep=st.floats(0, 1, exclude_min=True))
def test_enough_pixels_stay_and_one_level_higher_too_few(levels, keep):
    counts = torch.bincount(torch.tensor(levels), minlength=LEVELS)[None]
    threshold = int(class_thresholds(counts, keep))
    assert sum(level >= threshold for level in levels) / len(levels) >= keep
    assert sum(level > threshold for level in levels) / len(levels) < keep


@pytest.mark.parametrize("keep", [0.0, -0.1, 1.01, float("nan")])
def test_a_share_that_is_none_is_refused(keep):
    with pytest.raises(ValueError, match="keep is"):
        class_thresholds(histogram(TEN), keep)


def test_background_and_undecided_pixels_belong_to_no_class():
    mask = torch.tensor([[0, 1, 1], [2, 255, 1]], dtype=torch.uint8)
    confidence = torch.tensor([[9, 255, 0], [8, 0, 255]], dtype=torch.uint8)
    expected = histogram({9: 1}, {0: 1, 255: 2})
    assert torch.equal(confidence_histogram(mask, confidence, 2), expected)


def test_an_image_without_tissue_adds_nothing():
    empty = torch.full((2, 2), 3, dtype=torch.uint8)
    assert torch.equal(confidence_histogram(empty, empty, 3), histogram({}, {}, {}))
