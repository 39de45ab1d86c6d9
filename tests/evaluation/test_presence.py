import numpy as np
import pytest

from histoproto.evaluation.presence import Presence, calibration_error, judge_presence, reliability


def test_claims_that_come_true_have_no_calibration_error():
    claimed = np.array([0.25] * 4 + [0.75] * 4)
    truth = np.array([1, 0, 0, 0, 1, 1, 1, 0], bool)
    assert calibration_error(claimed, truth) == pytest.approx(0.0)


def test_calibration_error_is_the_weighted_gap_between_claim_and_truth():
    claimed = np.array([0.9, 0.9, 0.9, 0.1])
    truth = np.array([1, 0, 0, 0], bool)
    # bin of 0.9: 3 of 4 images, gap 0.9 - 1/3; bin of 0.1: 1 of 4, gap 0.1
    assert calibration_error(claimed, truth) == pytest.approx(0.75 * (0.9 - 1 / 3) + 0.25 * 0.1)


def test_the_reliability_curve_has_a_row_for_each_bin_with_images():
    rows = reliability(np.array([0.0, 0.05, 1.0]), np.array([False, True, True]))
    assert [(row["from"], row["images"], row["true"]) for row in rows] == [(0.0, 2, 0.5), (0.9, 1, 1.0)]


def test_classes_that_every_or_no_image_has_get_no_ranking_figure():
    scores = np.array([[3.0, -1.0], [2.0, 4.0], [1.0, -3.0]])
    truths = np.array([[True, False], [True, True], [True, False]])
    found = judge_presence(Presence(scores, truths), ("A", "B"), (0.0, 0.0))
    assert found["per_class"]["A"]["ap"] is None
    assert found["per_class"]["B"]["ap"] == found["per_class"]["B"]["f1"] == 1.0
    assert found["mean"]["ap"] == 1.0
    assert found["per_class"]["A"]["images"] == 3


def test_f1_uses_the_gate_s_own_thresholds():
    scores = np.array([[9.0, -1.0], [9.0, 1.0]])
    truths = np.array([[True, True], [False, False]])
    strict = judge_presence(Presence(scores, truths), ("A", "B"), (0.0, 0.0))["per_class"]["B"]
    loose = judge_presence(Presence(scores, truths), ("A", "B"), (0.0, -2.0))["per_class"]["B"]
    assert strict["f1"] == 0.0
    assert loose["f1"] == pytest.approx(2 / 3)
