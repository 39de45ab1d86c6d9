import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from histoproto.data.manifest import read_study
from histoproto.masks import read_indices, write_mask
from tests.inference.tiny_sam import save_sam


@pytest.fixture(scope="module")
def evaluated(command, trained, tmp_path_factory):
    """An evaluated run; tests must not change it."""
    run = shutil.copytree(trained, tmp_path_factory.mktemp("evaluated") / "lpd-0")
    assert command("evaluate", run, "--split", "test") == 0
    return run


@pytest.fixture
def masks(study, tmp_path):
    """A folder of masks as another program may leave them: the truth, its last quarter of rows wrong."""
    folder = tmp_path / "theirs"
    data = read_study(study)
    for record in data.split("test"):
        mask = read_indices(record.mask).copy()
        rows = len(mask) // 4
        mask[-rows:] = 3 - mask[-rows:].clip(max=3)
        write_mask(folder / f"{record.path.stem}.png", mask, data.taxonomy)
    return folder


def metrics_of(run):
    return json.loads((run / "eval" / "metrics.json").read_text())


def test_everything_a_table_needs_is_written(evaluated):
    metrics = metrics_of(evaluated)
    for rules in metrics["results"].values():
        for figures in rules.values():
            assert set(figures["per_image"]) == {"miou", "dice", "biou_0.02", "biou_0.005"}
            assert "miou" in figures["interval"]
    assert metrics["uncertainty"]["number"] >= 1
    assert metrics["variants"]["one-view"]["predicted"]["ignored"]["miou"] is not None
    assert {"ap", "f1", "ece", "brier", "threshold"} <= set(metrics["classification"]["per_class"]["TUM"])
    everything = metrics["confidence"][0]
    assert everything["keep"] == everything["kept"] == 1.0
    assert set(everything["per_class"]) == set(metrics["classes"])
    for name in ("images.csv", "groups.csv", "presence.csv", "confidence.csv", "counts.parquet"):
        assert (evaluated / "eval" / name).is_file()


def test_masks_of_another_program_enter_the_same_table(command, masks, study, tmp_path, capsys):
    run = tmp_path / "runs" / "theirs"
    assert command("evaluate", masks, "--study", study, "--run", run, "--name", "TPRO", "--gate", "oracle") == 0
    figures = metrics_of(run)["results"]["oracle"]["ignored"]
    assert 0.4 < figures["miou"] < 1
    assert figures["images"] == 6
    assert "confidence" not in metrics_of(run)
    assert "TPRO" in (run / "config.yaml").read_text()
    assert command("report", run) == 0
    assert (run / "report.html").stat().st_size > 10_000
    assert command("evaluate", masks, "--study", study, "--run", run) == 0  # once more


def test_true_masks_score_one(command, study, tmp_path):
    data = read_study(study)
    folder = tmp_path / "perfect"
    for record in data.split("test"):
        write_mask(folder / f"{record.path.stem}.png", read_indices(record.mask), data.taxonomy)
    assert command("evaluate", folder, "--study", study, "--run", tmp_path / "run") == 0
    for figures in metrics_of(tmp_path / "run")["results"]["unknown"].values():
        assert figures["miou"] == figures["dice"] == figures["biou_0.005"] == 1.0


def test_other_pixel_values_are_translated(command, masks, study, tmp_path):
    assert command("evaluate", masks, "--study", study, "--run", tmp_path / "plain") == 0
    shifted = tmp_path / "shifted"
    shifted.mkdir()
    for path in masks.iterdir():
        values = read_indices(path)
        moved = np.where(values == 255, 255, (values.astype(int) + 1) % 5).astype(np.uint8)  # 0 white, 1..4 classes
        Image.fromarray(moved).save(shifted / path.name)
    codes = ("--values", "1,2,3,4", "--white-value", "0")
    assert command("evaluate", shifted, "--study", study, "--run", tmp_path / "coded", *codes) == 0
    plain, coded = (metrics_of(tmp_path / name)["results"] for name in ("plain", "coded"))
    assert plain == coded
    with (tmp_path / "coded" / "eval" / "images.csv").open() as table:
        row = next(csv.DictReader(table))
    assert set(np.unique(read_indices(tmp_path / row["prediction"]))) <= {0, 1, 2, 3, 4, 255}


def test_missing_masks_are_listed_and_the_rest_is_evaluated(command, masks, study, tmp_path, capsys):
    lost = sorted(masks.iterdir())[0]
    lost.unlink()
    assert command("evaluate", masks, "--study", study, "--run", tmp_path / "run") == 3
    assert (
        f"1 of 6 images have no predicted mask and are left out of every figure: {lost.stem}" in capsys.readouterr().err
    )
    metrics = metrics_of(tmp_path / "run")
    assert [name.rsplit(".", 1)[0] for name in metrics["missing"]] == [lost.stem]
    assert metrics["results"]["unknown"]["ignored"]["images"] == 5


def spoil_size(path):
    Image.fromarray(np.zeros((7, 9), np.uint8)).save(path)


def spoil_colour(path):
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(path)


def spoil_value(path):
    Image.fromarray(np.full((64, 64), 77, np.uint8)).save(path)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (spoil_size, "predicted mask of 9 x 7 px for a true mask of 64 x 64 px"),
        (spoil_colour, "mask of mode RGB"),
        (spoil_value, "predicted value 77 stands for nothing; known are 0 TUM, 1 STR, 2 LYM, 3 NEC, 4 background"),
    ],
)
def test_masks_that_do_not_fit_are_refused_in_one_sentence(command, masks, study, tmp_path, capsys, spoil, sentence):
    spoil(sorted(masks.iterdir())[2])
    assert command("evaluate", masks, "--study", study, "--run", tmp_path / "run") == 2
    shown = capsys.readouterr().err.strip()
    assert sentence in shown
    assert shown.count("\n") == 0
    assert not (tmp_path / "run" / "eval" / "metrics.json").exists()


def test_what_a_tired_user_types(command, masks, study, evaluated, tmp_path, capsys):
    def refused(sentence, *arguments):
        assert command("evaluate", *arguments) == 2
        assert sentence in capsys.readouterr().err

    run = ("--study", study, "--run", tmp_path / "run")
    refused("give --study STUDY", masks)
    refused("is no folder", tmp_path / "nowhere", *run)
    refused("none named like an image", study, *run)
    refused("3 numbers, but bcss-wsss has 4 classes", masks, *run, "--values", "1,2,3")
    refused("a value of its own", masks, *run, "--values", "1,2,2,3")
    refused("whole numbers", masks, *run, "--values", "a,b,c,d")
    refused("--values is for a folder of masks", evaluated, "--values", "1,2,3,4")
    refused("--gate is for a folder of masks", evaluated, "--gate", "oracle")
    refused("--refine needs a run's network", masks, *run, "--refine", "crf")
    refused("--precision needs a run's network", masks, *run, "--precision", "bf16")
    refused("is a trained run; choose another folder", masks, "--study", study, "--run", evaluated)
    refused("there is TUM, STR, LYM, NEC", masks, *run, "--mean-over", "TUM,FAT")


def test_a_folder_of_figures_is_no_model(command, masks, study, tmp_path, capsys):
    run = tmp_path / "theirs-run"
    assert command("evaluate", masks, "--study", study, "--run", run) == 0
    assert command("masks", run) == 2
    assert "made elsewhere" in capsys.readouterr().err
    assert command("train", "--resume", run) == 2
    assert "made elsewhere" in capsys.readouterr().err


def test_compare_says_in_words_whether_a_difference_is_real(command, evaluated, masks, study, tmp_path, capsys):
    run = shutil.copytree(evaluated, tmp_path / "lpd-0")
    theirs = tmp_path / "theirs-run"
    assert command("evaluate", masks, "--study", study, "--run", theirs) == 0
    capsys.readouterr()
    assert command("evaluate", run, "--split", "test", "--compare", theirs) == 0
    shown = capsys.readouterr().out
    assert "lpd is " in shown
    told = json.loads((run / "eval" / "comparison.json").read_text())
    assert [arm["name"] for arm in told["arms"]] == ["lpd", "theirs-run"]
    assert told["rule"] == {"lpd": "predicted", "theirs-run": "unknown"}


def test_what_cannot_be_compared_is_said_before_anything_is_computed(command, evaluated, trained, tmp_path, capsys):
    before = (evaluated / "eval" / "metrics.json").stat().st_mtime_ns
    assert command("evaluate", evaluated, "--split", "test", "--compare", trained) == 2
    assert "has not been evaluated" in capsys.readouterr().err
    assert command("evaluate", evaluated, "--split", "val", "--compare", evaluated) == 2
    assert "itself" in capsys.readouterr().err
    assert (evaluated / "eval" / "metrics.json").stat().st_mtime_ns == before


def test_the_arithmetic_can_be_chosen_and_is_recorded(command, evaluated, tmp_path):
    run = shutil.copytree(evaluated, tmp_path / "bf16")
    assert command("evaluate", run, "--precision", "bf16") == 0
    reduced, exact = metrics_of(run), metrics_of(evaluated)
    assert (reduced["precision"], exact["precision"]) == ("bf16", "fp32")
    assert reduced["classification"]["mean"]["brier"] != exact["classification"]["mean"]["brier"]
    assert reduced["classification"]["mean"]["brier"] == pytest.approx(
        exact["classification"]["mean"]["brier"], abs=0.01
    )


REFINERS = {"crf": "dense CRF", "affinity": "random walk by affinity", "superpixels": "votes in superpixels"}


@pytest.mark.parametrize("name", REFINERS)
def test_a_refiner_is_shown_with_the_figure_without_it(command, evaluated, tmp_path, capsys, name):
    run = shutil.copytree(evaluated, tmp_path / "refined")
    assert command("evaluate", run, "--split", "test", "--refine", name) == 0
    assert f"Without the refiner ({REFINERS[name]}): " in capsys.readouterr().out
    refined, plain = metrics_of(run), metrics_of(evaluated)
    assert refined["refine"] == name
    assert refined["variants"]["unrefined"]["predicted"]["ignored"]["miou"] == pytest.approx(
        plain["results"]["predicted"]["ignored"]["miou"]
    )
    assert refined["results"] != plain["results"]


def test_masks_can_be_refined(command, evaluated, tmp_path):
    run = shutil.copytree(evaluated, tmp_path / "refined")
    network = save_sam(tmp_path / "sam")
    found = []
    for options in ([], *(["--refine", name] for name in REFINERS)):
        assert command("masks", run, "--split", "val", *options) == 0
        found.append({path.name: read_indices(path) for path in (run / "masks" / "val").glob("*.png")})
    plain, *refined = found
    for masks in refined:
        assert masks.keys() == plain.keys()
        assert any((plain[name] != masks[name]).any() for name in plain)
    assert command("masks", run, "--split", "val", "--refine", "sam", "--refine-weights", network) == 0
    assert str(network) in (run / "masks" / "val" / "source.json").read_text()


def test_what_a_refiner_needs_is_asked_for_before_anything_is_lost(command, evaluated, tmp_path, capsys):
    run = shutil.copytree(evaluated, tmp_path / "refined")
    assert command("masks", run, "--split", "val") == 0
    for options, sentence in (
        (["--refine", "sam"], "name a folder or hf:org/name in transformers' format with --refine-weights"),
        (["--refine-weights", tmp_path], "--refine-weights is for --refine sam, not for none"),
    ):
        assert command("masks", run, "--split", "val", *options) == 2
        assert sentence in capsys.readouterr().err
        assert command("evaluate", run, "--split", "test", *options) == 2
        assert sentence in capsys.readouterr().err
    assert list((run / "masks" / "val").glob("*.png"))
