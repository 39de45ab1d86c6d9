import json
from pathlib import Path

import pytest

from histoproto.reports.examples import choose_examples
from histoproto.reports.figures import short_count
from histoproto.reports.reading import Example, read_run
from histoproto.reports.wording import duration, number, summary

from .a_run import write_json, write_training


def evaluated(folder, split="test", choose_by="holdout-loss", oracle=0.75):
    write_training(folder, choose_by=choose_by)
    per_class = {
        "TUM": {"iou": 0.8, "support_px": 10},
        "STR": {"iou": 0.6, "support_px": 10},
        "NEC": {"iou": None, "support_px": 0},
    }
    results = {
        "predicted": {"ignored": {"miou": 0.7, "images": 1200, "per_class": per_class}},
        "oracle": {"ignored": {"miou": oracle}},
    }
    write_json(folder / "eval" / "metrics.json", {"split": split, "results": results})
    return " ".join(summary(read_run(folder)))


def test_the_summary_leads_with_the_predicted_gate_and_prices_the_oracle(tmp_path):
    text = evaluated(tmp_path / "run")
    assert "On the test split (1,200 images)" in text
    assert "a mean IoU of 0.700 over 2 tissue classes" in text
    assert "(oracle) it would be 0.750: 0.050 is lost" in text
    assert "Weakest class: Stroma with an IoU of 0.600." in text


def test_an_oracle_that_helps_nothing_is_said_to_help_nothing(tmp_path):
    assert "would not help: 0.700" in evaluated(tmp_path / "run", oracle=0.7)


@pytest.mark.parametrize(
    ("choose_by", "words"),
    [("holdout-loss", "label-only"), ("last", "label-only"), ("validation-masks", "val-tuned")],
)
def test_the_summary_says_what_chose_the_checkpoint(tmp_path, choose_by, words):
    text = evaluated(tmp_path / "run", choose_by=choose_by)
    assert words in text
    assert ("label-only" in text) != ("val-tuned" in text)
    assert "flatter" not in text


def test_figures_on_the_masks_that_chose_the_checkpoint_are_called_flattering(tmp_path):
    assert "flatter" in evaluated(tmp_path / "run", split="val", choose_by="validation-masks")


def test_a_run_that_does_not_say_how_it_chose_is_not_called_label_only(tmp_path):
    text = evaluated(tmp_path / "run", choose_by=None)
    assert "does not say" in text
    assert "label-only" not in text


@pytest.mark.parametrize(("value", "text"), [(None, "n/a"), (0.0, "0.000"), (0.71249, "0.712")])
def test_numbers_have_three_digits_and_nothing_is_not_zero(value, text):
    assert number(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(7.4, "7 s"), (187, "3 min 7 s"), (7300, "2 h 1 min")])
def test_durations_are_said_in_natural_units(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(999, "999"), (12345, "12.3k"), (2_000_000, "2M"), (999_950, "1M")])
def test_counts_are_short(count, text):
    assert short_count(count) == text


def examples(*scores):
    return [Example(f"{place}", *[Path()] * 4, miou=score) for place, score in enumerate(scores)]


def names(groups):
    return {group.title: [example.name for example in group.examples] for group in groups}


def test_best_median_and_worst_are_chosen_without_images_that_have_no_score():
    chosen = choose_examples(examples(0.1, None, 0.9, 0.5, 0.4, 0.6, 0.2, 0.8), each=1)
    assert names(chosen) == {"Best": ["2"], "Median": ["3"], "Worst": ["0"]}


@pytest.mark.parametrize("number_of_images", range(12))
def test_no_image_is_shown_twice_and_few_images_are_enough(number_of_images):
    chosen = choose_examples(examples(*(place / 20 for place in range(number_of_images))))
    shown = [example.name for group in chosen for example in group.examples]
    assert len(set(shown)) == len(shown)
    assert bool(shown) == bool(number_of_images)
    if number_of_images >= 2:
        assert names(chosen)["Best"][0] == str(number_of_images - 1)
        assert names(chosen)["Worst"][-1] == "0"


def test_json_output_carries_the_leading_figure(tmp_path, capsys):
    from histoproto.cli import main

    evaluated(tmp_path / "run")
    with pytest.raises(SystemExit):
        main(["report", str(tmp_path / "run"), "--json"])
    assert json.loads(capsys.readouterr().out)["miou"] == 0.7
