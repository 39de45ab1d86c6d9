from pathlib import Path

import pytest
from matplotlib.collections import PathCollection

from histoproto.reports.boxes import seed_boxes
from histoproto.reports.comparison import caution, choose_patches
from histoproto.reports.reading import Example


def examples(*scores):
    return [Example(f"{place}", *[Path()] * 4, miou=score) for place, score in enumerate(scores)]


def test_patches_are_chosen_where_methods_differ_where_all_are_good_and_where_all_fail():
    ours = examples(0.9, 0.1, 0.9, 0.5, 0.1, None)
    theirs = examples(0.8, 0.9, 0.9, 0.5, 0.05, 0.9)
    chosen = choose_patches([ours, theirs], each=1)
    assert [(group.title.split()[-1], group.patches[0].examples[0].name) for group in chosen] == [
        ("most", "1"),
        ("good", "2"),
        ("fail", "4"),
    ]


@pytest.mark.parametrize("images", range(12))
def test_no_patch_is_shown_twice_and_few_are_enough(images):
    runs = [examples(*(place / 20 for place in range(images))), examples(*(place / 30 for place in range(images)))]
    shown = [patch.examples[0].name for group in choose_patches(runs) for patch in group.patches]
    assert len(set(shown)) == len(shown)
    assert bool(shown) == bool(images)


def test_methods_under_different_gates_are_cautioned_against():
    assert caution({"rule": {"lpd": "predicted", "cam": "predicted"}}) == ""
    said = caution({"rule": {"lpd": "predicted", "tpro": "oracle"}})
    assert "lpd: predicted gate; tpro: oracle gate" in said


def test_every_training_is_a_dot_and_three_of_them_have_a_box():
    arms = [
        {"name": "lpd", "by_run": [0.7, 0.72, 0.69], "interval": [0.6, 0.8]},
        {"name": "cam", "by_run": [0.6], "interval": None},
    ]
    (axes,) = seed_boxes(arms).figure.axes
    assert [len(dots.get_offsets()) for dots in axes.collections if isinstance(dots, PathCollection)] == [3, 1]
    assert len(axes.lines) == 6  # box, two whiskers, two caps, median: of one method
    assert [label.get_text() for label in axes.get_yticklabels()] == ["lpd", "cam"]
