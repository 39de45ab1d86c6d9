import numpy as np
import torch

from histoproto.metrics.boundary import boundary_counts
from histoproto.reports.boundary import RATIO, boundary_errors

CLASSES = 4


def errors(truth, prediction):
    return boundary_errors(truth.astype(np.uint8), prediction.astype(np.uint8), CLASSES)


def halves(column, size=50):
    mask = np.zeros((size, size))
    mask[:, column:] = 1
    return mask


def test_true_masks_have_no_errors():
    assert not any(found.any() for found in errors(halves(20), halves(20)))


def test_a_border_that_is_not_predicted_is_missed_on_both_sides():
    missed, false, renamed = errors(halves(25), np.zeros((50, 50)))
    inner = missed[5:-5]
    assert inner[:, 24].all()
    assert inner[:, 25].all()
    assert not inner[:, :22].any()
    assert not false[5:-5, 5:-5].any()
    assert renamed[5:-5, -1].all()  # the image's edge: a border under both, of another tissue


def test_a_border_that_is_nowhere_is_false():
    missed, false, _ = errors(np.zeros((50, 50)), halves(25))
    assert false[5:-5, 24].all()
    assert not missed[5:-5, 5:-5].any()


def test_a_border_one_pixel_off_has_the_wrong_tissue_between():
    _, _, renamed = errors(halves(25), halves(26))
    assert np.flatnonzero(renamed[25]).tolist() == [25]


def test_pixels_that_nobody_knows_are_no_error():
    truth = halves(25)
    truth[:, 20:40] = 255
    prediction = truth.copy()
    prediction[:, 20:40] = 3
    assert not any(found.any() for found in errors(truth, prediction))


def test_coloured_pixels_are_those_that_boundary_iou_counts_against_a_mask():
    random = np.random.default_rng(3)
    for _ in range(5):
        truth, prediction = (np.kron(random.integers(0, 5, (5, 6)), np.ones((11, 9))).astype(np.uint8) for _ in "ab")
        truth[:7, :9], prediction[30:36] = 255, 255
        shown = np.where(prediction == 255, CLASSES, prediction)
        counts = boundary_counts(torch.tensor(shown), torch.tensor(truth), CLASSES, RATIO)
        missed, false, renamed = errors(truth, prediction)
        against = missed.sum() + false.sum() + 2 * renamed.sum()  # a renamed pixel counts for two tissues
        assert int((counts.union - counts.intersection).sum()) == against
