import pytest
import torch

from histoproto.evaluation.bootstrap import interval, interval_over_seeds, resampled
from histoproto.evaluation.figures import interval_of, mean_over

from .simulated import counts_of, split_of, two_class_slides

MIOU = mean_over("iou", [0, 1])


def test_intervals_hold_the_true_figure_as_often_as_they_claim():
    random = torch.Generator().manual_seed(5)
    truth = float(MIOU(two_class_slides(random, 200_000, 0.8).pooled()))
    trials = 400
    held = 0
    for trial in range(trials):
        slides = two_class_slides(random, 20, 0.8)
        found = interval(MIOU(resampled(slides, draws=600, seed=trial)), len(slides))
        held += found.low <= truth <= found.high
    assert 0.92 <= held / trials <= 0.98


def test_intervals_narrow_with_the_root_of_the_number_of_slides():
    random = torch.Generator().manual_seed(1)
    widths = []
    for slides in (25, 400):
        ends = interval(MIOU(resampled(two_class_slides(random, slides, 0.8))), slides)
        widths.append(ends.high - ends.low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.35)


def test_patches_of_one_slide_are_drawn_together():
    random = torch.Generator().manual_seed(2)
    slides = two_class_slides(random, 12, 0.7)
    patches = counts_of(slides.confusion.repeat_interleave(10, 0))
    groups = [f"slide_{index // 10}" for index in range(120)]
    split = split_of(patches, groups)
    ((rule, _),) = split.counts.items()
    by_group = split.by_group(rule)
    assert len(by_group) == 12
    assert torch.equal(by_group.confusion, 10 * slides.confusion.double())
    honest = interval(MIOU(resampled(by_group)), 12)
    naive = interval(MIOU(resampled(patches)), 120)
    assert honest.high - honest.low > 2 * (naive.high - naive.low)


def test_draws_without_a_class_are_left_out_rather_than_counted_as_zero():
    confusion = torch.zeros(8, 3, 3)
    confusion[:, 0, 0] = 10
    confusion[0, 1, 1] = 10  # one slide alone has the second tissue
    drawn = MIOU(resampled(counts_of(confusion)))
    assert bool(drawn.isnan().any())
    assert interval(drawn, 8) == (1.0, 1.0)


def test_a_class_that_hardly_any_slide_holds_has_no_interval():
    confusion = torch.zeros(8, 3, 3)
    confusion[:, 0, 0] = 10
    confusion[0, 1] = torch.tensor([1.0, 3.0, 0.0])
    slides = counts_of(confusion)
    drawn = resampled(slides)
    assert interval_of(mean_over("iou", [1])(drawn), slides, [1]) is None
    assert interval_of(mean_over("iou", [0])(drawn), slides, [0]) is not None


def test_few_slides_have_no_interval():
    random = torch.Generator().manual_seed(3)
    slides = two_class_slides(random, 4, 0.8)
    assert interval(MIOU(resampled(slides)), 4) is None


def test_the_interval_over_seeds_is_students():
    # mean 0.8, standard deviation 0.01, t(2, 97.5 %) = 4.3027
    ends = interval_over_seeds([0.79, 0.80, 0.81])
    assert ends.low == pytest.approx(0.8 - 4.3027 * 0.01 / 3**0.5, abs=1e-5)
    assert ends.high == pytest.approx(0.8 + 4.3027 * 0.01 / 3**0.5, abs=1e-5)
    assert interval_over_seeds([0.8]) is None
