import numpy as np
import torch
from PIL import Image

from histoproto.formats.confidence import write_confidence
from histoproto.metrics.coverage import LEVELS, ConfidenceCounts, count_confidence

WHITE, UNDECIDED = 2, 255


def counted(prediction, confidence, target):
    return count_confidence(
        torch.tensor([prediction]), torch.tensor([confidence]), torch.tensor([target], dtype=torch.uint8), classes=2
    )


def filled(table):
    """Return where counts are, as ``{(class, level): pixels}``."""
    return {tuple(place): int(table[tuple(place)]) for place in table.nonzero().tolist()}


def test_pixels_are_counted_by_predicted_class_and_level():
    found = counted([0, 0, 0, 1], [1.0, 1.0, 0.2, 0.0], [0, 1, 0, 0])
    assert filled(found.right) == {(0, 255): 1, (0, 51): 1}
    assert filled(found.wrong) == {(0, 255): 1, (1, 0): 1}
    assert found.right.shape == found.wrong.shape == (2, LEVELS)


def test_pixels_that_nobody_knows_white_ones_and_undecided_ones_are_not_counted():
    found = counted([0, 0, WHITE, UNDECIDED], [0.9] * 4, [255, WHITE, 0, 0])
    assert int(found.pixels.sum()) == 0


def test_levels_are_those_that_masks_store(tmp_path):
    confidence = torch.rand(30, 40, generator=torch.Generator().manual_seed(0))
    write_confidence(tmp_path / "confidence.png", confidence.numpy())
    stored = np.asarray(Image.open(tmp_path / "confidence.png"))
    nothing = torch.zeros(30, 40, dtype=torch.long)
    found = count_confidence(nothing, confidence, nothing, classes=1)
    assert found.right[0].tolist() == np.bincount(stored.ravel(), minlength=LEVELS).tolist()


def counts_of(*pixels):
    """Return counts of ``(class, level, is right)`` of two classes."""
    right, wrong = torch.zeros(2, 2, LEVELS, dtype=torch.int64)
    for name, level, is_right in pixels:
        (right if is_right else wrong)[name, level] += 1
    return ConfidenceCounts(right, wrong)


FIVE = counts_of((0, 200, True), (0, 200, True), (0, 100, True), (0, 100, False), (1, 50, False))


def test_precision_is_the_share_of_what_is_kept_that_is_right():
    found = FIVE.kept(torch.tensor([101, 50]))
    assert found.share.tolist() == [0.5, 1.0]
    assert found.precision.tolist() == [1.0, 0.0]
    assert float(found.share_of_all) == 3 / 5
    assert float(found.precision_of_all) == 2 / 3


def test_everything_is_kept_from_level_zero():
    found = FIVE.kept(torch.tensor([0, 0]))
    assert found.share.tolist() == [1.0, 1.0]
    assert found.precision.tolist() == [0.75, 0.0]


def test_a_class_that_is_never_predicted_has_no_figure_and_no_say():
    found = counts_of((0, 9, True)).kept(torch.tensor([0, 0]))
    assert found.share[1].isnan()
    assert found.precision[1].isnan()
    assert float(found.precision_of_all) == 1.0


def test_a_class_of_which_nothing_is_kept_has_no_precision():
    found = FIVE.kept(torch.tensor([0, 51]))
    assert float(found.share[1]) == 0.0
    assert found.precision[1].isnan()


def test_without_pixels_nothing_has_a_value():
    found = ConfidenceCounts.nothing(2).kept(torch.tensor([0, 0]))
    assert found.share_of_all.isnan()
    assert found.precision_of_all.isnan()


def test_counts_of_images_add_up():
    parts = ConfidenceCounts.nothing(2) + counts_of((0, 3, True)) + counts_of((0, 3, True), (1, 4, False))
    assert filled(parts.right) == {(0, 3): 2}
    assert filled(parts.wrong) == {(1, 4): 1}
