import json
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from PIL import Image
from safetensors.torch import load_file

from histoproto.data.manifest import read_study, write_study
from histoproto.wiring.runs import load_run


@pytest.fixture(scope="module")
def bank(command, study, trained, tmp_path_factory):
    """A bank made with the backbone of an earlier run; tests must not change it."""
    folder = tmp_path_factory.mktemp("banks") / "bank"
    options = ("--per-class", "2,1,1,1", "--nearest", 3)
    assert command("bank", study, "--out", folder, "--encoder", f"run:{trained}", *options) == 0
    return folder


@pytest.fixture(scope="module")
def prompted(command, study, bank, tmp_path_factory):
    """A PBIP run of one epoch, with the similarity loss from the first step."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "settings.yaml").write_text("model: {warmup_steps: 0}\ntraining: {epochs: 1, batch: 16}\n")
    settings = ("--settings", folder / "settings.yaml")
    assert command("train", "pbip", study, "--run", folder / "pbip", "--bank", bank, *settings) == 0
    return folder / "pbip"


def test_a_bank_holds_prototypes_the_chosen_patches_a_picture_per_class_and_its_record(bank, study):
    record = json.loads((bank / "bank.json").read_text())
    prototypes = load_file(bank / "prototypes.safetensors")["prototypes"]
    patches = pd.read_parquet(bank / "patches.parquet")
    table = read_study(study).table
    assert [len(entry["sub_classes"]) for entry in record["classes"]] == [2, 1, 1, 1]
    assert prototypes.shape[0] == 5
    assert (prototypes.norm(dim=1) - 1).abs().max() < 1e-5
    assert set(patches["sha256"]) <= set(table.loc[table["split"] == "train", "sha256"])
    assert patches.groupby(["class", "sub_class"]).size().max() <= 3
    alone = table.set_index("sha256").loc[patches["sha256"], "labels"].str.index("1").to_numpy()
    assert (patches["class"].to_numpy() == [("TUM", "STR", "LYM", "NEC")[index] for index in alone]).all()
    assert record["data_hash"] == read_study(study).data_hash()
    assert "luminance is above 0.8" in record["white_rule"]
    assert record["encoder"]["loaded"]["sha256"]
    assert {"scikit-learn", "torch"} <= set(record["versions"])
    for name in ("TUM", "STR", "LYM", "NEC"):
        with Image.open(bank / "sheets" / f"{name}.png") as sheet:
            assert sheet.width > 160


def test_the_same_command_again_does_nothing_and_says_so(command, study, trained, bank, capsys):
    before = {path: path.stat().st_mtime_ns for path in bank.rglob("*")}
    options = ("--per-class", "2,1,1,1", "--nearest", 3)
    assert command("bank", study, "--out", bank, "--encoder", f"run:{trained}", *options) == 0
    assert "nothing was done" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in bank.rglob("*")} == before


def test_other_settings_reuse_the_features(command, study, trained, bank, tmp_path, monkeypatch, capsys):
    def refuse(*_arguments):
        raise AssertionError("the patches were encoded again")

    monkeypatch.setattr("histoproto.banks.features.encode_patches", refuse)
    arguments = ("--out", tmp_path / "other", "--encoder", f"run:{trained}", "--per-class", 1, "--json")
    assert command("bank", study, *arguments) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["already_made"] is False
    assert printed["next"].startswith("histoproto train pbip")


def test_pbip_trains_from_a_bank_and_its_run_needs_the_bank_no_more(command, prompted, bank, capsys):
    config = yaml.safe_load((prompted / "config.yaml").read_text())
    record = json.loads((prompted / "run.json").read_text())
    assert config["model"]["prototypes_per_class"] == [2, 1, 1, 1]
    assert config["prototypes"]["bank"] == str(bank)
    sources = [weights["source"] for weights in record["weights"]]
    assert any(source.startswith("run:") for source in sources)
    assert f"bank:{bank}" in sources
    aside = bank.rename(bank.with_name("aside"))
    try:
        assert load_run(prompted).model.counts == (2, 1, 1, 1)
        assert command("masks", prompted) == 0
        assert command("evaluate", prompted, "--split", "val") == 0
    finally:
        aside.rename(bank)
    assert load_file(bank / "prototypes.safetensors")["prototypes"].equal(load_run(prompted).model.prototypes)


def test_the_log_has_every_term(prompted):
    header = (prompted / "metrics.csv").read_text().splitlines()[0]
    assert {"classification", "foreground", "background"} <= set(header.split(","))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--encoder", "self"), "train a first run"),
        (("--encoder", "none"), "take its backbone with --encoder run:runs/lpd"),
        (("--encoder", "clipp"), "unknown encoder 'clipp'"),
        (("--encoder", "run:{new}"), "is no run folder"),
        (("--encoder", "run:{trained}", "--encoder-weights", "a.pth"), "brings its own weights"),
        (("--encoder", "run:{trained}", "--per-class", "many"), "--per-class 'many'"),
        (("--encoder", "run:{trained}", "--per-class", "1,2"), "names 2 numbers, but there are 4 classes"),
        (("--encoder", "run:{trained}", "--per-class", "30"), "cannot make 30 sub-classes"),
        (("--encoder", "run:{trained}", "--per-class", "1", "--out", "{bank}"), "holds a bank of other patches"),
        (("--encoder", "run:{trained}", "--out", "{trained}"), "holds no complete image bank"),
    ],
)
def test_what_goes_wrong_ends_in_one_sentence(arguments, sentence, command, study, trained, bank, tmp_path, capsys):
    places = {"trained": trained, "bank": bank, "new": tmp_path / "new"}
    given = [argument.format(**places) for argument in arguments]
    out = () if "--out" in given else ("--out", tmp_path / "out")
    assert command("bank", study, *out, *given) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "there is no bank: make one with histoproto bank"),
        (("--bank", "{new}"), "is no image bank"),
        (("--bank", "{bank}", "--prototypes", "3"), "the bank brings its prototypes"),
        (("--bank", "{bank}", "--encoder", "random"), "is not the one that made the bank"),
        (("--bank", "{bank}", "--encoder", "self"), "take the bank's own with --encoder bank"),
    ],
)
def test_a_bank_that_does_not_fit_is_refused_before_training(
    arguments, sentence, command, study, bank, tmp_path, capsys
):
    given = [argument.format(bank=bank, new=tmp_path / "new") for argument in arguments]
    assert command("train", "pbip", study, "--run", tmp_path / "run", *given) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_study_without_single_label_patches_is_told_what_to_do(command, study, trained, tmp_path, capsys):
    whole = read_study(study)
    several = whole.table[(whole.table["split"] != "train") | (whole.table["labels"].str.count("1") > 1)]
    absolute = several.assign(path=[str(whole.absolute(path)) for path in several["path"]])
    write_study(type(whole)(tmp_path / "study", whole.taxonomy, absolute))
    arguments = ("--out", tmp_path / "bank", "--encoder", f"run:{trained}")
    assert command("bank", tmp_path / "study", *arguments) == 2
    assert "no training patch shows one class alone" in capsys.readouterr().err


def test_a_killed_command_leaves_no_bank_and_can_be_repeated(command, study, trained, bank, tmp_path):
    broken = shutil.copytree(bank, tmp_path / "bank")
    (broken / "bank.json").unlink()
    options = ("--per-class", "2,1,1,1", "--nearest", 3, "--encoder", f"run:{trained}")
    assert command("bank", study, "--out", broken, *options) == 2
    shutil.rmtree(broken)
    assert command("bank", study, "--out", broken, *options) == 0
    assert (broken / "prototypes.safetensors").read_bytes() == (bank / "prototypes.safetensors").read_bytes()


def test_help_needs_no_torch():
    script = (
        "import sys\nfrom histoproto.cli import main\n"
        "try:\n    main(['bank', '--help'])\nexcept SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "--white-share" in shown
