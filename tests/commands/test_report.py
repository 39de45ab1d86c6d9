import csv
import json
import re
import shutil

import pytest
import yaml

from histoproto.data.manifest import read_study
from histoproto.masks import read_indices, write_mask


@pytest.fixture(scope="module")
def runs(command, trained, study, tmp_path_factory):
    """An evaluated run, its copy as another seed, and the masks of another program; tests must not change them."""
    folder = tmp_path_factory.mktemp("report-runs")
    first = shutil.copytree(trained, folder / "lpd-0")
    assert command("evaluate", first, "--split", "test") == 0
    second = shutil.copytree(first, folder / "lpd-1")
    config = yaml.safe_load((second / "config.yaml").read_text())
    (second / "config.yaml").write_text(yaml.safe_dump({**config, "seed": 1}))
    metrics = json.loads((second / "eval" / "metrics.json").read_text())
    (second / "eval" / "metrics.json").write_text(json.dumps({**metrics, "seed": 1}))
    data = read_study(study)
    for record in data.split("test"):
        write_mask(
            folder / "masks" / f"{record.path.stem}.png", 3 - read_indices(record.mask).clip(0, 3), data.taxonomy
        )
    assert command("evaluate", folder / "masks", "--study", study, "--run", folder / "theirs") == 0
    return folder


@pytest.fixture(scope="module")
def compared(command, runs, tmp_path_factory):
    """A run with a report that has everything in it."""
    run = shutil.copytree(runs / "lpd-0", runs / "all-0")
    others = (runs / "theirs", runs / "lpd-1")
    assert command("report", run, "--compare", *others, "--published", "bcss-wsss") == 0
    return run


def rows_of(file):
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_methods_stand_side_by_side_with_a_verdict(compared):
    html = (compared / "report.html").read_text()
    assert "Where the methods differ most" in html
    assert re.search(r"all is 0\.\d+ (above|below) theirs", html)
    assert (
        "The methods do not use the same gate (all: predicted gate; theirs: gate unknown; lpd: predicted gate)" in html
    )
    assert not re.search(r"https?://", html)
    assert len(html) < 8_000_000


def test_everything_is_there_as_files_too(compared):
    folder = compared / "report"
    files = {path.name for path in folder.iterdir()}
    for figure in ("gate_reliability", "confusion_matrix", "comparison_seeds", "comparison_patches", "examples"):
        assert {f"{figure}.svg", f"{figure}.png"} <= files
    methods = rows_of(folder / "comparison_methods.csv")
    assert [row["method"] for row in methods] == ["all", "theirs", "lpd"]
    metrics = json.loads((compared / "eval" / "metrics.json").read_text())
    miou = metrics["results"]["predicted"]["ignored"]["miou"]
    assert float(methods[0]["miou"]) == pytest.approx(miou)
    by_gate = rows_of(folder / "figures_by_gate.csv")
    assert {(row["variant"], row["gate"]) for row in by_gate} >= {("main", "predicted"), ("one-view", "oracle")}
    assert len(rows_of(folder / "comparison_patches.csv")) == 6
    assert {row["file"] for row in rows_of(folder / "index.csv")} == files - {"index.csv"}


def test_published_figures_stand_beside_ours_with_their_protocol(compared):
    rows = rows_of(compared / "report" / "published_figures.csv")
    assert [row["method"] for row in rows[:2]] == ["lpd (this run)", "lpd (this run)"]
    assert [(row["gate"], row["background"]) for row in rows[:2]] == [("predicted", "dropped"), ("oracle", "predicted")]
    (lpd,) = [row for row in rows if row["method"] == "LPD" and row["where"].startswith("LPD main table;")]
    assert lpd["gate"] == "oracle"
    assert lpd["protocol_read_in_code"] == "1"
    html = (compared / "report.html").read_text()
    assert 'class="impossible"' in html
    assert "No pooled confusion matrix gives this Dice" in html


def test_a_report_without_others_shows_none(command, runs, compared, tmp_path):
    run = shutil.copytree(compared, tmp_path / "run")
    assert command("report", run) == 0
    assert not list((run / "report").glob("comparison*"))
    assert "Published figures" not in (run / "report.html").read_text()


def test_masks_made_elsewhere_get_a_report_of_their_own(command, runs, capsys):
    assert command("report", runs / "theirs") == 0
    html = (runs / "theirs" / "report.html").read_text()
    assert "Gate unknown, white background ignored" in html
    assert "histoproto explain" not in capsys.readouterr().out
    assert not (runs / "theirs" / "report" / "gate_reliability.svg").exists()


def test_a_run_with_prototypes_names_the_command_that_explains_them(command, runs, tmp_path, capsys):
    assert command("report", runs / "lpd-1", "--out", tmp_path / "page.html") == 0
    assert f"histoproto explain {runs / 'lpd-1'}" in capsys.readouterr().out


def test_json_output_carries_the_interval_and_the_comparison(command, runs, tmp_path, capsys):
    run = shutil.copytree(runs / "lpd-0", tmp_path / "a" / "mine")
    assert command("report", run, "--compare", runs / "theirs", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["comparison"]["differences"][0]["verdict"].split(" is ")[0].endswith("a/mine")
    assert "interval" in told


def test_what_cannot_be_shown_ends_in_one_sentence(command, runs, trained, tmp_path, capsys):
    def refused(sentence, *arguments):
        assert command("report", runs / "lpd-0", *arguments) == 2
        shown = capsys.readouterr().err.strip()
        assert sentence in shown
        assert shown.count("\n") == 0

    refused("has not been evaluated", "--compare", trained)
    refused("that is the run itself", "--compare", runs / "lpd-0")
    refused("2 seeds of one method", "--compare", runs / "lpd-1")
    refused("published figures are known on bcss", "--published", "camelyon")
    refused("leave it out, or name another data set", "--published", "luad-histoseg")
    cut = shutil.copytree(runs / "theirs", tmp_path / "cut")
    lines = (cut / "eval" / "images.csv").read_text().splitlines()
    (cut / "eval" / "images.csv").write_text("\n".join(lines[:-1]) + "\n")
    refused("does not list the images of its counts", "--compare", cut)
    metrics = json.loads((cut / "eval" / "metrics.json").read_text())
    (cut / "eval" / "metrics.json").write_text(json.dumps({**metrics, "split": "val"}))
    refused("was evaluated on", "--compare", cut)
