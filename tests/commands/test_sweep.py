import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from histoproto.data.manifest import read_study
from histoproto.sweeps.cells import cells_of
from histoproto.sweeps.data import few_patches
from histoproto.sweeps.definition import read_sweep
from histoproto.sweeps.gather import read_figures

DOCS = Path(__file__).parents[2] / "docs"
TOY = """
about: A toy, one cell of which cannot be made
base:
  settings: {training: {epochs: 1, batch: 16}, inference: {views: none}}
helper: {method: cam, settings: {training: {epochs: 1, batch: 16}}}
seeds: [0]
axes:
  method:
    CAM: {method: cam, published: false}
    PBIP: {method: pbip, bank: {encoder: helper, per_class: 1}, published: {method: PBIP}}
    too many: {method: pbip, bank: {encoder: helper, per_class: 30}}
published: {tables: [PBIP Table 1]}
"""


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    file = tmp_path_factory.mktemp("toys") / "toy.yaml"
    file.write_text(TOY)
    return file


@pytest.fixture(scope="module")
def swept(command, toy, study):
    """A sweep of which one cell failed."""
    folder = toy.parent / "swept"
    assert command("sweep", toy, "--data", study, "--out", folder, "--jobs", 2) == 3
    return folder


def say(capsys, command, *arguments):
    capsys.readouterr()
    code = command(*arguments)
    told = capsys.readouterr()
    return code, told.out, told.err


def test_each_cell_is_an_ordinary_run_folder(swept, command):
    for cell in ("CAM", "PBIP"):
        run = swept / cell / "seed-0"
        assert "gate" in json.loads((run / "run.json").read_text())
        assert (run / "eval" / "metrics.json").is_file()
        assert command("masks", run, "--split", "val") == 0


def test_the_record_of_a_cell_names_the_command_that_would_have_made_it(swept, study):
    run = swept / "PBIP" / "seed-0"
    record = json.loads((run / "run.json").read_text())
    assert record["command"][:4] == ["histoproto", "train", "pbip", str(study.absolute())]
    assert record["command"][-1] == str(run / "bank")
    assert yaml.safe_load((run / "settings.yaml").read_text())["training"]["epochs"] == 1


def test_what_a_cell_printed_is_in_its_log(swept):
    said = (swept / "PBIP" / "seed-0" / "log.txt").read_text()
    commands = [line.split()[2] for line in said.splitlines() if line.startswith("$ ")]
    assert commands == ["bank", "train", "evaluate"]
    assert "epoch 1" in said
    assert "Next:" not in said


def test_a_cell_that_fails_is_named_with_its_reason_and_does_not_stop_the_others(swept, command, toy, study, capsys):
    arguments = ("sweep", toy, "--data", study, "--out", swept)
    code, out, error = say(capsys, command, *arguments)
    assert code == 3
    assert "Failed: too many, seed 0: DataError: TUM:" in error
    assert "cannot make 30 sub-classes" in error
    assert str(swept / "too many" / "seed-0" / "log.txt").replace(" ", "-") in error
    assert "1 of 3 cells are not done; the same command tries them again" in error
    assert "69.54 ± 0.6" in out


def test_a_finished_cell_is_read_with_every_gate_and_class(swept):
    cell = cells_of(read_sweep("pbip-table4"))[0]
    found = {(f.gate, f.background, f.measure): f.value for f in read_figures(cell, 3, swept / "CAM" / "seed-0")}
    assert {gate for gate, _, _ in found} == {"predicted", "oracle", "none"}
    assert {"miou", "fwiou", "dice", "biou_0.02", "biou_0.005", "iou[TUM]"} <= {measure for _, _, measure in found}
    assert 0 <= found["predicted", "ignored", "miou"] <= 100


def test_the_table_holds_ours_and_theirs(swept):
    with (swept / "table.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    ours = {row["setting"] for row in rows if row["whose"] == "ours"}
    theirs = {(row["setting"], row["mean"]) for row in rows if row["whose"] == "published" and row["measure"] == "miou"}
    assert ours == {"CAM", "PBIP"}
    assert {("PBIP", "69.5400"), ("MLPS", "65.1700")} <= theirs
    metrics = json.loads((swept / "CAM" / "seed-0" / "eval" / "metrics.json").read_text())
    miou = metrics["results"]["predicted"]["ignored"]["miou"]
    assert f"| CAM | {100 * miou:.2f} |" in (swept / "table.md").read_text()
    assert (swept / "table.png").is_file()


def test_what_is_missing_is_made_again_and_nothing_else(swept, command, toy, study):
    cam, pbip = swept / "CAM" / "seed-0", swept / "PBIP" / "seed-0"
    record = json.loads((cam / "run.json").read_text())
    del record["gate"]  # as if killed after the last step
    (cam / "run.json").write_text(json.dumps(record))
    shutil.rmtree(cam / "eval")
    kept = (pbip / "run.json").stat().st_mtime_ns
    assert command("sweep", toy, "--data", study, "--out", swept) == 3
    assert "$ histoproto train --resume" in (cam / "log.txt").read_text()
    assert (cam / "eval" / "metrics.json").is_file()
    assert (pbip / "run.json").stat().st_mtime_ns == kept


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: text.replace("epochs: 1", "epochs: 2"), "holds the sweep toy made with other settings"),
        (lambda text: text.replace("CAM:", "GradCAM:"), "holds the sweep toy made with other settings"),
    ],
)
def test_a_folder_of_other_settings_is_refused(change, sentence, swept, command, study, tmp_path, capsys):
    other = tmp_path / "toy.yaml"
    other.write_text(change(TOY))
    code, _, error = say(capsys, command, "sweep", other, "--data", study, "--out", swept)
    assert (code, len(error.splitlines())) == (2, 1)
    assert sentence in error


def test_a_folder_of_another_sweep_or_other_data_or_something_else_is_refused(
    swept, command, study, toy, tmp_path, capsys
):
    code, _, error = say(capsys, command, "sweep", "pbip-table5", "--tiny", "--data", study, "--out", swept)
    assert (code, "made with another name" in error) == (2, True)
    few = few_patches(read_study(study), tmp_path / "few")
    few.table.drop(index=0).to_parquet(tmp_path / "few" / "manifest.parquet", index=False)
    code, _, error = say(capsys, command, "sweep", toy, "--data", tmp_path / "few", "--out", swept)
    assert (code, "made with other data" in error) == (2, True)
    code, _, error = say(capsys, command, "sweep", toy, "--data", study, "--out", study)
    assert (code, "is not empty and holds no sweep" in error) == (2, True)


def test_a_folder_in_use_is_left_alone(swept, command, toy, study, capsys):
    holder = (
        f"from pathlib import Path; from histoproto.runs import RunFolder\n"
        f"with RunFolder(Path({str(swept)!r})).in_use(): print('held', flush=True); input()"
    )
    process = subprocess.Popen([sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        code, _, error = say(capsys, command, "sweep", toy, "--data", study, "--out", swept)
        assert (code, "is in use by another process" in error) == (2, True)
    finally:
        process.communicate("\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("pbip-tabel4", "--data", "{study}"), "unknown sweep 'pbip-tabel4'; did you mean pbip-table4?"),
        (("gone.yaml", "--data", "{study}"), "gone.yaml: no such sweep file"),
        (("pbip-table4",), "name the data: histoproto sweep pbip-table4 --data STUDY"),
        (("{toy}", "--data", "gone"), "gone is no study"),
        (("{toy}", "--data", "{study}", "--jobs", "0"), "--jobs 0: at least one cell at a time"),
        (("{toy}", "--data", "{study}", "--seeds", "one"), "--seeds one: give numbers with commas"),
        (("{toy}", "--data", "{study}", "--seeds", "1,1"), "--seeds 1,1: name each number once"),
        (("{toy}", "--data", "{study}", "--split", "train"), "split train has no masks to compare with"),
        (("{toy}", "--data", "{study}", "--split", "tset"), "no patches in split 'tset'; it has: train"),
        (("{toy}", "--data", "{study}", "--encoder", "clipp"), "unknown encoder 'clipp'"),
        (("pbip-table4", "--data", "{study}"), "pbip-table4 needs weights that no hub has: --weights medclip=FILE"),
        (("pbip-table3", "--data", "{study}", "--encoder", "plip"), "--encoder plip: pbip-table3 compares encoders"),
    ],
)
def test_what_a_tired_user_gets_wrong_ends_in_one_sentence(
    arguments, sentence, command, study, toy, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    code, _, error = say(capsys, command, "sweep", *(text.format(study=study, toy=toy) for text in arguments))
    assert code == 2
    assert sentence in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "sweeps").exists()


def test_a_study_of_other_classes_is_refused_unless_published_figures_are_not_asked_for(
    command, study, toy, tmp_path, capsys
):
    other = few_patches(read_study(study), tmp_path / "other").folder
    taxonomy = json.loads((other / "taxonomy.json").read_text())
    (other / "taxonomy.json").write_text(json.dumps(taxonomy | {"name": "mine", "classes": ["A", "B", "C", "D"]}))
    arguments = ("sweep", toy, "--data", other, "--out", tmp_path / "out")
    code, _, error = say(capsys, command, *arguments)
    assert code == 2
    assert "the study's classes are A, B, C, D, but PBIP Table 1 is about other ones" in error
    assert "--no-published" in error
    assert not (tmp_path / "out").exists()


def test_few_patches_of_a_study_show_every_combination_of_labels(study, tmp_path):
    whole = read_study(study)
    few = few_patches(whole, tmp_path / "few")
    assert {record.labels for record in few.split("train")} == {record.labels for record in whole.split("train")}
    assert all(record.path.is_file() and record.mask.is_file() for record in few.split("test"))


@pytest.mark.parametrize("arguments", [("--list",), ()])
def test_the_shipped_sweeps_are_listed_with_a_sentence_each(arguments, command, capsys):
    code, out, _ = say(capsys, command, "sweep", *arguments)
    assert code == 0
    for name in ("pbip-table1", "pbip-figure4", "lpd-prototypes", "construct-distillation"):
        assert name in out
    assert "number of sub-classes per class" in out


def test_the_example_of_the_page_is_a_sweep(tmp_path):
    page = (DOCS / "sweeps.md").read_text()
    examples = [block.split("```")[0] for block in page.split("```yaml\n")[1:]]
    assert len(examples) >= 2
    for number, example in enumerate(examples):
        file = tmp_path / f"example-{number}.yaml"
        file.write_text(example)
        cells = cells_of(read_sweep(str(file)))
        assert all(cell.zeroshot or cell.run_settings("") for cell in cells)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pbip-table4", "pbip-table6", "construct-distillation"])
def test_a_shipped_sweep_goes_its_whole_road_in_tiny(name, command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    began = time.monotonic()
    code, out, _ = say(capsys, command, "sweep", name, "--tiny", "--data", "phantom", "--jobs", 2)
    assert code == 0
    assert time.monotonic() - began < 240
    assert "This shows the road, not the quality" in " ".join(out.split())
    assert "published:" in out


@pytest.mark.slow
def test_ctrl_c_ends_a_sweep_cleanly_and_the_same_command_goes_on(command, study, tmp_path):
    file, out = tmp_path / "long.yaml", tmp_path / "out"
    file.write_text(
        "about: x\nbase: {method: cam, settings: {training: {epochs: 30, batch: 16}}}\naxes: {k: {a: , b: }}\n"
    )
    arguments = ["sweep", str(file), "--data", str(study), "--seeds", "0", "--out", str(out)]
    program = [sys.executable, "-m", "histoproto", *arguments]
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, process_group=0)
    rows, end = out / "a" / "seed-0" / "metrics.csv", time.monotonic() + 120
    while not rows.is_file():
        assert time.monotonic() < end
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "2 of 2 cells are not done; the same command goes on" in error
    assert not (out / "b" / "seed-0" / "config.yaml").exists()
    assert command(*arguments) == 0
    assert "--resume" in (out / "a" / "seed-0" / "log.txt").read_text()
