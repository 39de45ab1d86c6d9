import json
from pathlib import Path

import yaml

from histoproto.sweeps.cells import Cell, cells_of
from histoproto.sweeps.definition import read_sweep
from histoproto.sweeps.steps import cell_job, command_line, helper_job, is_done, write_inputs
from histoproto.taxonomy import BCSS_WSSS

BANK = {"encoder": "helper", "per_class": [3, 3, 2, 1], "nearest": 9}
PBIP = Cell(("K=3",), "pbip", "paper", {"training": {"epochs": 4}}, BANK)


def job(cell, folder, seed=7):
    return cell_job(cell, seed, Path("study"), folder, Path("/sweep/helper"), "val")


def test_a_cell_with_a_bank_is_three_commands_that_a_user_could_type(tmp_path):
    commands = [" ".join(command_line(step)) for step in job(PBIP, tmp_path).steps]
    assert commands == [
        f"histoproto bank study --out {tmp_path}/bank --encoder run:/sweep/helper --per-class 3,3,2,1 --nearest 9 "
        "--seed 7",
        f"histoproto train pbip study --run {tmp_path} --preset paper --seed 7 --settings {tmp_path}/settings.yaml "
        f"--bank {tmp_path}/bank",
        f"histoproto evaluate {tmp_path} --split val",
    ]


def test_a_helper_is_trained_and_not_evaluated(tmp_path):
    helper = helper_job(Cell(("helper",), "cam", "corrected"), 0, Path("study"), tmp_path)
    assert [step.verb for step in helper.steps] == ["train"]


def test_a_run_is_trained_when_its_gate_is_fitted(tmp_path):
    train = job(PBIP, tmp_path).steps[1]
    assert not is_done(train)
    train.product.write_text(json.dumps({"seed": 7}))
    assert not is_done(train)
    train.product.write_text(json.dumps({"seed": 7, "gate": {}}))
    assert is_done(train)


def test_progress_is_read_from_what_lies_on_disk(tmp_path):
    made = job(PBIP, tmp_path)
    assert (made.units_done, made.units, made.done) == (0, 6, False)
    (tmp_path / "bank").mkdir()
    (tmp_path / "bank" / "bank.json").write_text("{}")
    (tmp_path / "metrics.csv").write_text("epoch\n1\n2\n")
    assert made.units_done == 3
    (tmp_path / "run.json").write_text('{"gate": {}}')
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "metrics.json").write_text("{}")
    assert (made.units_done, made.done) == (6, True)


def test_a_question_brings_its_sentences_with_the_names_of_the_studys_classes(tmp_path):
    cells = {cell.name: cell for cell in cells_of(read_sweep("pbip-table6"))}
    text, image = cells["text + PLIP"], cells["image + PLIP"]
    write_inputs(text, tmp_path, tmp_path, BCSS_WSSS)
    sentences = yaml.safe_load((tmp_path / "prompts.yaml").read_text())
    assert sentences["LYM"] == ["a photo of lymphocytic infiltrate"]
    (asking,) = job(text, tmp_path).steps
    assert asking.options["prompt_file"] == str(tmp_path / "prompts.yaml")
    bank, asking = job(image, tmp_path).steps
    assert (bank.options["encoder"], asking.options["encoder"]) == ("plip", "plip")
    assert asking.options["bank"] == tmp_path / "bank"
