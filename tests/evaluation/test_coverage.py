import csv

import pytest
import torch

from histoproto.evaluation.coverage import SHARES, coverage_curve, write_counts
from histoproto.metrics.coverage import LEVELS, ConfidenceCounts

CLASSES = ("A", "B", "C")


def a_split():
    """A: ten pixels at levels 10, 20, ..., 100, wrong below 50. B: four at one level, half of them right. C: none."""
    right, wrong = torch.zeros(2, 3, LEVELS, dtype=torch.int64)
    for level in range(10, 101, 10):
        (right if level >= 50 else wrong)[0, level] = 1
    right[1, 200] = wrong[1, 200] = 2
    return ConfidenceCounts(right, wrong)


def rows():
    return {row["keep"]: row for row in coverage_curve(a_split(), CLASSES)}


def test_every_class_is_cut_at_its_own_quantile():
    assert tuple(rows()) == SHARES
    for keep, precision in {1.0: 0.6, 0.9: 6 / 9, 0.8: 6 / 8, 0.6: 1.0, 0.5: 1.0}.items():
        found = rows()[keep]["per_class"]["A"]
        assert found["kept"] == keep
        assert found["precision"] == pytest.approx(precision)
        assert found["threshold"] == pytest.approx((110 - 100 * keep) / 255)


def test_equal_confidences_stay_together_and_the_row_says_how_much_stays():
    for row in rows().values():
        assert row["per_class"]["B"] == {"threshold": 200 / 255, "kept": 1.0, "precision": 0.5}
    assert rows()[0.5]["kept"] == pytest.approx((5 + 4) / 14)


def test_all_classes_together_are_what_is_kept_of_each():
    assert rows()[1.0]["precision"] == pytest.approx((6 + 2) / 14)
    assert rows()[0.6]["precision"] == pytest.approx((6 + 2) / 10)


def test_a_class_that_is_never_predicted_is_not_available():
    assert all(set(row["per_class"]["C"].values()) == {None} for row in rows().values())


def test_the_counts_are_kept_for_any_other_share(tmp_path):
    write_counts(tmp_path / "confidence.csv", a_split(), CLASSES)
    with (tmp_path / "confidence.csv").open(newline="") as lines:
        table = list(csv.DictReader(lines))
    assert len(table) == 3 * LEVELS
    assert {"class": "A", "level": "50", "right": "1", "wrong": "0"} in table
    assert {"class": "B", "level": "200", "right": "2", "wrong": "2"} in table
    assert sum(int(row["right"]) + int(row["wrong"]) for row in table) == 14
