import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from histoproto.data.manifest import read_study, write_study
from histoproto.encoders.clip import image_encoder, text_encoder
from tests.encoders.test_clip import CARD, SHAPE, folder, tensors  # noqa: F401 - the fixtures of a tiny CLIP

CLASSES = ["TUM", "STR", "LYM", "NEC"]


@pytest.fixture(scope="module")
def bank(command, study, trained, tmp_path_factory):
    """A bank made with the backbone of an earlier run."""
    place = tmp_path_factory.mktemp("banks") / "bank"
    options = ("--per-class", "2,1,1,1", "--nearest", 3)
    assert command("bank", study, "--out", place, "--encoder", f"run:{trained}", *options) == 0
    return place


@pytest.fixture
def tiny_clip(folder, monkeypatch):  # noqa: F811 - the fixture
    """A folder of tiny CLIP weights, for which the name clip stands."""
    monkeypatch.setattr("histoproto.encoders.clip.clip", lambda weights: image_encoder(CARD, weights, SHAPE))
    monkeypatch.setattr("histoproto.encoders.clip.clip_text", lambda weights: text_encoder(CARD, weights, SHAPE))
    return folder


def test_image_prompts_give_f1_per_class_a_table_and_three_files(command, study, trained, tmp_path, capsys):
    out = tmp_path / "out"
    assert command("zeroshot", study, "--encoder", f"run:{trained}", "--split", "train", "--out", out) == 0
    printed = capsys.readouterr().out
    record = json.loads((out / "zeroshot.json").read_text())
    result = record["results"]["image"]
    confusion = np.array(result["confusion"])
    alone = read_study(study).table.query("split == 'train'")["labels"].str.count("1") == 1
    assert confusion.sum() == alone.sum()
    for index, name in enumerate(CLASSES):
        hits = 2 * confusion[index, index] / (confusion[index].sum() + confusion[:, index].sum())
        assert result["per_class"][name]["f1"] == pytest.approx(hits)
        assert result["per_class"][name]["support"] == confusion[index].sum()
    assert list(record["results"]) == ["image"]
    assert "has no text tower" in printed
    assert "their F1 flatters them" in printed
    assert printed.splitlines()[-1].startswith("Next: histoproto bank")
    with (out / "zeroshot.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["class"] for row in rows] == [*CLASSES, "macro"]
    assert float(rows[-1]["f1"]) == pytest.approx(result["macro_f1"], abs=1e-6)
    with Image.open(out / "confusion.png") as picture:
        assert picture.width > 300


def test_a_bank_gives_several_image_prompts_a_class(command, study, trained, bank, tmp_path, capsys):
    options = ("--prompts", "image", "--bank", bank, "--out", tmp_path / "out", "--json")
    assert command("zeroshot", study, "--encoder", f"run:{trained}", "--split", "train", *options) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["results"]["image"]["prototypes"] == {"TUM": 2, "STR": 1, "LYM": 1, "NEC": 1}
    assert printed["next"].startswith("histoproto train pbip")


def test_text_prompts_are_the_sentences_of_the_prompt_file(command, study, tiny_clip, tmp_path, capsys):
    prompts = tmp_path / "prompts.yaml"
    prompts.write_text("\n".join(f"{name}: [a {name}, {name} of tissue]" for name in CLASSES))
    options = ("--encoder-weights", tiny_clip, "--prompt-file", prompts, "--split", "train", "--json")
    assert command("zeroshot", study, "--encoder", "clip", "--out", tmp_path / "out", *options) == 0
    record = json.loads(capsys.readouterr().out)
    assert list(record["results"]) == ["text", "image"]
    assert record["results"]["text"]["sentences"]["LYM"] == ["a LYM", "LYM of tissue"]
    assert "vocab.json" in record["results"]["text"]["loaded"]["notes"][0]
    assert record["results"]["text"]["macro_f1"] is not None
    assert record["encoder"]["loaded"]["tensors"] == 40


def test_shipped_sentences_are_found_by_the_studys_classes(command, study, tiny_clip, tmp_path, capsys):
    options = ("--encoder-weights", tiny_clip, "--prompts", "text", "--split", "train", "--per-class-limit", 2)
    assert command("zeroshot", study, "--encoder", "clip", "--out", tmp_path / "out", *options, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert list(record["results"]) == ["text"]
    assert all(len(lines) > 1 for lines in record["results"]["text"]["sentences"].values())
    assert {entry["support"] for entry in record["results"]["text"]["per_class"].values()} == {2}


def test_features_are_kept_for_the_next_time(command, study, trained, tmp_path, monkeypatch):
    arguments = ("zeroshot", study, "--encoder", f"run:{trained}", "--split", "train", "--out", tmp_path / "out")
    assert command(*arguments) == 0

    def refuse(*_arguments):
        raise AssertionError("the patches were encoded again")

    monkeypatch.setattr("histoproto.banks.features.encode_patches", refuse)
    assert command(*arguments) == 0


def relabelled(study, place, change):
    """Write a study with a changed table, its patches where they are."""
    source = read_study(study)
    table = source.table.copy()
    for column in ("path", "mask"):
        table[column] = table[column].map(lambda value: str(source.absolute(value)), na_action="ignore")
    change(table)
    write_study(replace(source, folder=place, table=table))
    return place


def test_where_labels_are_missing_the_masks_say_which_class_a_patch_shows_alone(
    command, study, trained, tmp_path, capsys
):
    def change(table):
        table.loc[table["split"] == "test", "labels"] = None

    masked = relabelled(study, tmp_path / "masked", change)
    by_mask = []
    for record in read_study(masked).split("test"):
        assert record.labels is None
        classes = [value for value in np.unique(np.array(Image.open(record.mask))) if value < 4]
        by_mask += classes if len(classes) == 1 else []
    assert by_mask
    options = ("--encoder", f"run:{trained}", "--out", tmp_path / "out", "--json")
    assert command("zeroshot", masked, *options) == 0
    confusion = json.loads(capsys.readouterr().out)["results"]["image"]["confusion"]
    assert np.array(confusion).sum(1).tolist() == np.bincount(by_mask, minlength=4).tolist()


def test_a_split_without_labels_and_masks_ends_in_a_sentence_that_names_another(
    command, study, trained, tmp_path, capsys
):
    def change(table):
        table.loc[table["split"] == "test", ["labels", "mask"]] = None

    bare = relabelled(study, tmp_path / "bare", change)
    assert command("zeroshot", bare, "--encoder", f"run:{trained}") == 2
    assert "split test has neither image-level labels nor masks" in (error := capsys.readouterr().err)
    assert "--split train" in error


def test_features_that_a_bank_kept_of_labelled_patches_are_not_taken_for_those_that_masks_name(
    command, study, trained, tmp_path, capsys
):
    def change(table):
        outside = table["split"].isin(["val", "test"]) & table["mask"].notna()
        table.loc[outside, "labels"] = None
        table.loc[outside, "split"] = "train"

    mixed = relabelled(study, tmp_path / "mixed", change)
    asking = ("zeroshot", mixed, "--encoder", f"run:{trained}", "--split", "train", "--json")
    making = ("bank", mixed, "--encoder", f"run:{trained}", "--per-class", 1)
    assert command(*making, "--out", tmp_path / "bank") == 0
    capsys.readouterr()
    assert command(*asking, "--out", tmp_path / "after") == 0
    after = json.loads(capsys.readouterr().out)["results"]
    for file in (mixed / "features").iterdir():
        file.unlink()
    assert command(*asking, "--out", tmp_path / "alone") == 0
    assert json.loads(capsys.readouterr().out)["results"] == after
    labelled = (read_study(mixed).table["labels"].str.count("1") == 1).sum()
    assert sum(after["image"]["patches"].values()) > labelled


def test_a_class_without_a_training_patch_of_its_own_has_no_figure_and_its_patches_do_not_count(
    command, study, trained, tmp_path, capsys
):
    def change(table):
        table.loc[(table["split"] == "train") & (table["labels"] == "0001"), "labels"] = "1001"

    without = relabelled(study, tmp_path / "without", change)
    assert command("zeroshot", without, "--encoder", f"run:{trained}", "--out", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    figures = json.loads((tmp_path / "out" / "zeroshot.json").read_text())["results"]["image"]["per_class"]
    assert figures["NEC"] == {"f1": None, "support": 0, "left_out": 1}
    assert all(figures[name]["f1"] is not None for name in ("TUM", "STR", "LYM"))
    assert "NEC has no image prompt, so its patches (1) do not count" in printed
    assert re.search(r"NEC +n/a +0", printed)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--encoder", "run:{trained}", "--prompts", "text"), "has no text tower (one of these has: clip, plip"),
        (("--encoder", "mobilenet-v2", "--prompts", "text"), "encoder mobilenet-v2 has no text tower"),
        (("--encoder", "uni", "--prompts", "text"), "encoder uni has no text tower"),
        (("--encoder", "mobilenet-v2", "--prompts", "image"), "mobilenet-v2 as encoder needs weights"),
        (("--encoder", "clip", "--prompts", "text", "--bank", "{bank}"), "--bank serves image prompts"),
        (("--encoder", "random", "--bank", "{bank}"), "another or has other weights"),
        (("--encoder", "random", "--split", "tset"), "tset"),
        (("--encoder", "random", "--per-class-limit", "0"), "a class needs at least 1 patch"),
        (("--encoder", "clip", "--encoder-weights", "{absent}"), "no such weights file"),
        (("--encoder", "unii"), "unknown encoder 'unii'; did you mean uni?"),
    ],
)
def test_what_goes_wrong_ends_in_one_sentence(arguments, sentence, command, study, trained, bank, tmp_path, capsys):
    places = {"trained": trained, "bank": bank, "absent": tmp_path / "absent"}
    given = [argument.format(**places) for argument in arguments]
    split = () if "--split" in given else ("--split", "train")
    assert command("zeroshot", study, "--out", tmp_path / "out", *split, *given) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_next_command_can_be_run(command, study, trained, tmp_path, capsys):
    options = ("--split", "train", "--out", tmp_path / "out", "--json")
    assert command("zeroshot", study, "--encoder", f"run:{trained}", *options) == 0
    following = json.loads(capsys.readouterr().out)["next"].split()
    assert following[:3] == ["histoproto", "bank", str(study)]
    assert command(*following[1:-1], tmp_path / "bank", "--per-class", 1) == 0
