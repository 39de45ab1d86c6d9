from dataclasses import replace
from pathlib import Path

import pytest
import torch

from histoproto.errors import RunError
from histoproto.evaluation.comparison import EvaluatedRun, arms_of, compare

from .simulated import split_of, two_class_slides


def evaluated(path, skill, seed=0, method="lpd", slides=25, split="test", classes=("TUM", "STR"), groups=None):
    random = torch.Generator().manual_seed(hash((path, seed)) % 1000)
    return EvaluatedRun(
        Path(path), method, seed, split, classes, split_of(two_class_slides(random, slides, skill), groups)
    )


def test_runs_named_alike_up_to_a_number_are_seeds_of_one_arm():
    names = ("lpd-0", "lpd-1", "cam_0", "K=3/seed-0", "K=3/seed-1")
    runs = [evaluated(f"runs/{name}", 0.8, seed) for seed, name in enumerate(names)]
    assert [(arm.name, len(arm.runs)) for arm in arms_of(runs)] == [("lpd", 2), ("cam", 1), ("K=3/seed", 2)]


def test_a_real_difference_is_called_real():
    runs = [evaluated(f"runs/lpd-{seed}", 0.9, seed) for seed in range(3)]
    runs += [evaluated(f"runs/cam-{seed}", 0.7, seed, "cam") for seed in range(3)]
    told = compare(runs)
    (row,) = told["differences"]
    assert row["difference"] > 0.1
    assert row["interval"][0] > 0
    assert row["p_images_holm"] < 0.05
    assert row["seeds_test"].startswith("paired")
    assert "the difference is real" in row["verdict"]
    assert [len(arm["by_run"]) for arm in told["arms"]] == [3, 3]


def test_chance_is_called_chance():
    runs = [evaluated(f"runs/lpd-{seed}", 0.8, seed) for seed in range(4, 6)]
    runs += [evaluated(f"runs/cam-{seed}", 0.8, seed, "cam") for seed in range(4, 6)]
    assert "the difference is real" not in compare(runs)["differences"][0]["verdict"]


def test_one_training_each_leaves_the_question_of_seeds_open():
    told = compare([evaluated("runs/lpd", 0.9), evaluated("runs/cam", 0.6, method="cam")])
    assert told["differences"][0]["p_seeds"] is None
    assert "train at least two seeds" in told["differences"][0]["verdict"]


def test_several_comparisons_are_corrected_for_their_number():
    others = [evaluated(f"runs/{name}", 0.78, method=name) for name in ("cam", "pbip", "construct")]
    rows = compare([evaluated("runs/lpd", 0.85), *others])["differences"]
    assert len(rows) == 3
    assert min(row["p_images_holm"] for row in rows) == pytest.approx(3 * min(row["p_images"] for row in rows))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"classes": ("TUM", "FAT")}, "only runs of one taxonomy"),
        ({"split": "val"}, "--split test"),
        ({"slides": 20}, "different images"),
    ],
)
def test_runs_that_do_not_match_are_refused(changes, sentence):
    with pytest.raises(RunError, match=sentence):
        compare([evaluated("runs/lpd", 0.8), evaluated("runs/cam", 0.8, method="cam", **changes)])


def test_what_is_tested_is_what_is_printed():
    runs = [evaluated(f"runs/lpd-{seed}", 0.6 + 0.3 * seed, seed) for seed in range(2)]
    runs += [evaluated(f"runs/cam-{seed}", 0.7, seed, "cam") for seed in range(3)]
    told = compare(runs)
    (row,) = told["differences"]
    first, other = told["arms"]
    assert row["difference"] == pytest.approx(sum(first["by_run"]) / 2 - sum(other["by_run"]) / 3)
    assert row["interval"][0] < row["difference"] < row["interval"][1]
    assert first["interval"][0] < first["miou"] < first["interval"][1]


def test_too_few_slides_are_said_to_be_too_few():
    told = compare([evaluated("runs/lpd", 0.95, slides=4), evaluated("runs/cam", 0.4, method="cam", slides=4)])
    assert "so few slides or patients cannot tell" in told["differences"][0]["verdict"]
    assert "p cannot fall below 0.12" in told["differences"][0]["verdict"]


def test_one_seed_twice_is_no_second_training():
    with pytest.raises(RunError, match="one seed are one training"):
        compare(
            [evaluated("runs/lpd-0", 0.8, 3), evaluated("runs/lpd-1", 0.8, 3), evaluated("runs/cam", 0.7, method="cam")]
        )


def test_masks_made_elsewhere_tell_no_seed_and_may_still_be_several_trainings():
    theirs = [evaluated(f"runs/tpro-{number}", 0.7, seed=None, method="TPRO") for number in range(2)]
    told = compare([evaluated("runs/lpd", 0.8), *theirs])
    assert [len(arm["by_run"]) for arm in told["arms"]] == [1, 2]


def test_masks_made_under_different_protocols_are_cautioned_about():
    told = compare([evaluated("runs/lpd", 0.8), replace(evaluated("runs/cam", 0.7, method="cam"), refine="crf")])
    assert told["cautions"] == ["cam and lpd differ in more than the method: refiner crf against unknown."]


def test_seeds_of_one_method_are_no_comparison():
    with pytest.raises(RunError, match="seeds of one method"):
        compare([evaluated("runs/lpd-0", 0.8, 0), evaluated("runs/lpd-1", 0.8, 1)])
