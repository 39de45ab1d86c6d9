import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from histoproto.data.manifest import read_study
from histoproto.masks import read_indices
from histoproto.runs import RunFolder
from histoproto.taxonomy import BCSS_WSSS


def rows_of(path):
    with path.open() as handle:
        return list(csv.DictReader(handle))


def run_study(run):
    return Path(RunFolder(run).read_config()["study"])


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the trained run that a test may fill."""
    return shutil.copytree(trained, tmp_path / "run")


def test_training_masks_hold_only_labelled_classes(command, run):
    assert command("masks", run, "--split", "train") == 0
    rows = rows_of(run / "masks" / "train" / "manifest.csv")
    assert rows
    for row in rows:
        digits = row["image"].rsplit("[", 1)[1][:4]
        allowed = {index for index, digit in enumerate(digits) if digit == "1"} | {4, 255}
        assert set(np.unique(read_indices(Path(row["mask"])))) <= allowed
        assert row["gate"] == "labels"


def test_masks_of_val_and_test_do_not_use_labels_even_where_file_names_tell_them(command, run):
    manifest = read_study(run_study(run)).table
    assert manifest.loc[manifest["split"] == "val", "labels"].notna().all()
    assert command("masks", run, "--split", "val") == 0
    assert {row["gate"] for row in rows_of(run / "masks" / "val" / "manifest.csv")} == {"predicted"}


def test_masks_have_the_palette_and_a_confidence_beside_them(command, run):
    assert command("masks", run, "--split", "val") == 0
    mask = next((run / "masks" / "val").glob("*.png"))
    with Image.open(mask) as image:
        assert image.mode == "P"
        assert image.getpalette()[:15] == BCSS_WSSS.palette[:15]
    with Image.open(mask.parent / "confidence" / mask.name) as confidence:
        assert confidence.mode == "L"


def test_masks_that_are_there_are_kept_and_missing_ones_are_made(command, run):
    assert command("masks", run, "--split", "val") == 0
    kept, lost, *_ = sorted((run / "masks" / "val").glob("*.png"))
    before = kept.stat().st_mtime_ns
    lost.unlink()
    assert command("masks", run, "--split", "val") == 0
    assert kept.stat().st_mtime_ns == before
    assert lost.is_file()


def test_evaluation_shows_three_gates_and_two_background_rules(command, run, capsys):
    assert command("evaluate", run, "--split", "test", "--mean-over", "TUM,STR") == 0
    metrics = json.loads((run / "eval" / "metrics.json").read_text())
    assert set(metrics["results"]) == {"predicted", "oracle", "none"}
    for rules in metrics["results"].values():
        assert set(rules) == {"ignored", "counted"}
        for figures in rules.values():
            assert 0 <= figures["miou"] <= 1
            assert {"fwiou", "dice", "biou_0.02", "biou_0.005"} <= set(figures)
            two = [figures["per_class"][name]["iou"] for name in ("TUM", "STR")]
            assert figures["miou[TUM,STR]"] == pytest.approx(sum(two) / 2)
    oracle, honest = (metrics["results"][gate]["ignored"]["miou"] for gate in ("oracle", "predicted"))
    assert oracle >= honest - 0.05
    assert "uses the true mask" in capsys.readouterr().out
    rows = rows_of(run / "eval" / "images.csv")
    assert len(rows) == 6
    assert all((run / row["prediction"]).is_file() for row in rows)


def test_prediction_of_patches_and_a_slide_writes_everything_and_is_not_done_twice(
    command, run, study, slide, tmp_path
):
    out = tmp_path / "out"
    image = tmp_path / "plain.jpg"
    Image.fromarray(np.full((40, 70, 3), 240, np.uint8)).save(image)
    assert command("predict", run, slide, image, "--out", out) == 0
    areas = json.loads((out / "slide" / "areas.json").read_text())
    assert areas["mpp"] == pytest.approx(0.5)
    assert list(areas["areas"]) == ["TUM", "STR", "LYM", "NEC"]
    assert tifffile.imread(out / "slide" / "labels.ome.tif").shape == (256, 320)
    assert read_indices(out / "plain" / "mask.png").shape == (40, 70)
    assert (out / "slide" / "overlay.png").stat().st_size > 1000
    before = (out / "slide" / "labels.ome.tif").stat().st_mtime_ns
    assert command("predict", run, slide, "--out", out) == 0
    assert (out / "slide" / "labels.ome.tif").stat().st_mtime_ns == before


def test_a_prediction_made_in_another_way_or_damaged_is_made_again(command, run, slide, tmp_path):
    out = tmp_path / "out"
    bare = tmp_path / "bare.tif"
    with Image.open(slide) as image:
        image.convert("RGB").save(bare)
    assert command("predict", run, bare, "--out", out, "--assume-mpp", "0.5") == 0
    assert command("predict", run, bare, "--out", out, "--assume-mpp", "0.25") == 0
    areas = json.loads((out / "bare" / "areas.json").read_text())
    assert areas["mpp"] == pytest.approx(0.5)  # the training patches', at which the finer image is now read
    assert areas["width_px"] == 160
    (out / "bare" / "areas.json").write_text("{")
    assert command("predict", run, bare, "--out", out, "--assume-mpp", "0.25") == 0
    assert json.loads((out / "bare" / "areas.json").read_text())["width_px"] == 160


def test_what_was_taken_for_granted_is_said(command, run, tmp_path, capsys):
    grey = tmp_path / "grey.png"
    Image.fromarray(np.full((40, 40), 128, np.uint8)).save(grey)
    assert command("predict", run, grey, "--out", tmp_path / "out") == 0
    shown = capsys.readouterr().out
    assert "converted from L to RGB" in shown
    assert "taken at those of the training patches" in shown


def test_two_patches_of_one_name_keep_their_own_masks(command, run, tmp_path):
    folder = tmp_path / "images"
    rows = []
    for index, digits in enumerate(("1000", "0100", "0010", "0001")):
        place = folder / f"s{index}" / "4.png"
        place.parent.mkdir(parents=True)
        pixels = np.random.default_rng(index).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place)
        rows.append(f"s{index}/4.png,{digits},train,g{index}")
    (folder / "labels.csv").write_text("path,labels,split,group\n" + "\n".join(rows) + "\n")
    study = tmp_path / "study"
    assert command("data", "import", "folder", folder, "--classes", "TUM,STR,LYM,NEC", "--out", study) == 0
    config = (run / "config.yaml").read_text().splitlines()
    changed = [f"study: {study}" if line.startswith("study:") else line for line in config]
    (run / "config.yaml").write_text("\n".join(changed))
    assert command("masks", run, "--split", "train") == 0
    rows = rows_of(run / "masks" / "train" / "manifest.csv")
    assert len({row["mask"] for row in rows}) == 4
    for row in rows:
        assert set(np.unique(read_indices(Path(row["mask"])))) <= {int(Path(row["image"]).parent.name[1]), 4, 255}


def test_one_bad_input_among_many_is_listed_and_the_others_are_done(command, run, slide, tmp_path, capsys):
    bad = tmp_path / "bad.png"
    bad.write_text("no image")
    assert command("predict", run, slide, bad, "--out", tmp_path / "out") == 3
    assert (tmp_path / "out" / "slide" / "areas.json").is_file()
    said = capsys.readouterr().out
    assert "1 of 2 inputs failed" in said
    assert f"│ {bad} │ not an image" in said


def test_a_checkpoint_of_another_taxonomy_is_refused(command, run, tmp_path, capsys):
    config = (run / "config.yaml").read_text()
    fewer = config.replace("  - NEC\n", "").replace("  - Necrosis\n", "")
    fewer = fewer.replace("  - - 153\n    - 0\n    - 255\n", "")
    assert fewer != config
    (run / "config.yaml").write_text(fewer)
    assert command("evaluate", run, "--split", "test") == 2
    error = capsys.readouterr().err
    assert "does not fit bcss-wsss with 3 classes" in error


def test_a_study_of_other_classes_is_refused(command, run, tmp_path, capsys):
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(4):
        pixels = np.random.default_rng(index).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"p{index}.png")
    (folder / "labels.csv").write_text("path,labels\n" + "".join(f"p{index}.png,{index % 2}1\n" for index in range(4)))
    assert command("data", "import", "folder", folder, "--classes", "A,B", "--out", tmp_path / "other") == 0
    assert command("evaluate", run, "--study", tmp_path / "other", "--split", "train") == 2
    assert "evaluate on a study of the same classes" in capsys.readouterr().err


def test_a_split_without_masks_is_refused(command, run, capsys):
    assert command("evaluate", run, "--split", "train") == 2
    assert "has no masks to compare with" in capsys.readouterr().err


def test_a_mask_of_another_size_stops_evaluation_with_its_name(command, run, study, patches, tmp_path, capsys):
    folder = shutil.copytree(patches, tmp_path / "patches")
    assert command("data", "import", "bcss-wsss", folder, "--out", tmp_path / "copy") == 0
    mask = sorted((folder / "test" / "mask").glob("*.png"))[0]
    with Image.open(mask) as image:
        image.crop((0, 0, 20, 20)).save(mask)
    assert command("evaluate", run, "--study", tmp_path / "copy", "--split", "test") == 2
    assert mask.name in capsys.readouterr().err
