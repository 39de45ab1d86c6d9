import csv
import json
import shutil
import subprocess
import sys

import pytest
import yaml


def test_a_run_keeps_what_it_was_made_of(trained, study):
    record = json.loads((trained / "run.json").read_text())
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert record["stopped"] == "finished"
    assert len(record["data_hash"]) == 64
    assert record["versions"]["torch"]
    assert record["weights"][0]["source"] == "none"
    assert record["val_tuned"] is False
    assert record["mpp"] == 0.5
    assert len(record["gate"]["thresholds"]) == 4
    assert config["study"] == str(study)
    assert config["training"]["epochs"] == 2
    with (trained / "metrics.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [row["epoch"] for row in rows] == ["1", "2"]


def test_no_pickle_is_written(trained):
    suffixes = {path.suffix for path in trained.rglob("*") if path.is_file() and "tb" not in path.parts}
    assert suffixes <= {".safetensors", ".json", ".yaml", ".csv", ""}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("train", "lpdd", "{study}", "--run", "{new}"), "unknown method 'lpdd'; did you mean lpd?"),
        (("train", "lpd", "{study}", "--run", "{new}", "--preset", "papper"), "did you mean paper?"),
        (("train", "lpd", "{study}", "--run", "{new}", "--encoder", "clipp"), "unknown encoder 'clipp'"),
        (("train", "lpd", "{study}", "--run", "{new}", "--backbone", "mit-b9"), "unknown backbone 'mit-b9'"),
        (("train", "lpd", "{study}", "--run", "{new}", "--lr", "-1"), "lr is -1.0"),
        (("train", "lpd", "{new}", "--run", "{new}"), "is no study"),
        (("train", "lpd"), "name a method, a study and a run folder"),
        (("train", "lpd", "{study}", "--run", "{trained}"), "already holds a run; go on with it"),
        (("train", "--resume", "{trained}"), "is finished (2 epochs)"),
        (("train", "--resume", "{new}"), "is no run folder"),
        (("train", "lpd", "{study}", "--resume", "{trained}"), "--resume takes the run folder alone"),
        (("train", "--resume", "{trained}", "--epochs", "9"), "--resume takes the run folder alone"),
        (("train", "lpd", "{study}", "--run", "{new}", "--weights", "gone.pth", "--backbone", "mit-b0"), "gone.pth"),
    ],
)
def test_what_a_tired_user_gets_wrong_ends_in_one_sentence(
    arguments, sentence, command, study, trained, tmp_path, capsys
):
    places = {"study": study, "trained": trained, "new": tmp_path / "new"}
    assert command(*(argument.format(**places) for argument in arguments)) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert len(error.strip().splitlines()) == 1


def test_a_refused_name_leaves_no_run_folder_behind(command, study, tmp_path):
    assert command("train", "lpd", study, "--run", tmp_path / "run", "--encoder", "clipp") == 2
    assert command("train", "lpd", study, "--run", tmp_path / "run", "--epochs", 1, "--batch", 16) == 0


def test_settings_from_a_file_change_the_preset_and_unknown_ones_are_refused(command, study, tmp_path, capsys):
    settings = tmp_path / "settings.yaml"
    settings.write_text("model: {prototypes_per_class: 2}\ntraining: {epochs: 1, batch: 16}\n")
    assert command("train", "lpd", study, "--run", tmp_path / "run", "--settings", settings) == 0
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["model"]["prototypes_per_class"] == 2
    settings.write_text("model: {prototype_per_class: 2}\n")
    capsys.readouterr()
    assert command("train", "lpd", study, "--run", tmp_path / "other", "--settings", settings) == 2
    assert "there is no setting model.prototype_per_class" in capsys.readouterr().err


def test_a_run_folder_in_use_by_another_process_is_left_alone(command, study, tmp_path, capsys):
    run = tmp_path / "run"
    holder = (
        "import sys; from pathlib import Path; from histoproto.runs import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).in_use():\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(run)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        assert command("train", "lpd", study, "--run", run) == 2
        other.communicate("")
    assert "is in use by another process" in capsys.readouterr().err


def test_a_run_killed_before_its_gate_was_fitted_needs_only_the_gate(command, trained, tmp_path, capsys):
    run = shutil.copytree(trained, tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    gate = record.pop("gate")
    (run / "run.json").write_text(json.dumps(record))
    assert command("evaluate", run) == 2
    assert f"go on with: histoproto train --resume {run}" in capsys.readouterr().err
    assert command("train", "--resume", run) == 0
    assert json.loads((run / "run.json").read_text())["gate"] == gate


def test_a_run_stopped_before_its_first_checkpoint_can_be_resumed(command, trained, study, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(trained / "config.yaml", run)
    assert command("train", "--resume", run) == 0
    name = "checkpoints/last/model.safetensors"
    assert (run / name).read_bytes() == (trained / name).read_bytes()


def test_training_that_ends_within_the_warm_up_says_so(command, study, tmp_path, capsys):
    assert command("train", "lpd", study, "--run", tmp_path / "run", "--epochs", 1, "--batch", 16) == 0
    assert "only the class loss is trained" in capsys.readouterr().err


def test_choosing_by_masks_is_called_val_tuned(command, study, tmp_path):
    run = tmp_path / "run"
    code = command("train", "lpd", study, "--run", run, "--epochs", 1, "--batch", 16, "--choose-by", "validation-masks")
    assert code == 0
    assert json.loads((run / "run.json").read_text())["val_tuned"] is True


def test_help_names_the_arguments_and_needs_no_torch():
    script = (
        "import sys\nfrom histoproto.cli import main\n"
        "try:\n    main(['train', '--help'])\nexcept SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "--choose-by" in shown
    assert "--resume" in shown
