import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml
from safetensors.torch import save_file

from histoproto.data.phantom import write_patches
from histoproto.exporting.licences import weights_behind
from histoproto.runs import RunFolder
from histoproto.wiring.runs import load_run
from tests.inference.tiny_sam import save_sam


@pytest.fixture(scope="module")
def segmented(command, trained, tmp_path_factory):
    """A segmenter of one epoch; tests must not change it."""
    folder = tmp_path_factory.mktemp("runs") / "seg"
    options = ("--epochs", 1, "--mosaics", 0.5, "--keep", 0.9, "--seed", 4)
    assert command("segment", trained, "--run", folder, *options) == 0
    return folder


def test_a_segmenter_keeps_what_it_was_made_of(segmented, trained, study):
    record = json.loads((segmented / "run.json").read_text())
    config = yaml.safe_load((segmented / "config.yaml").read_text())
    assert config["method"] == "segmenter"
    assert config["source"] == str(trained)
    assert config["study"] == str(study)
    assert config["seed"] == record["seed"] == 4
    assert config["mosaics"]["share"] == 0.5
    assert record["weights"][0]["source"] == f"run:{trained}"
    assert len(record["weights"][0]["sha256"]) == 64
    assert record["pseudo_masks"]["run"] == str(trained)
    assert set(record["pseudo_masks"]["least_confidence"]) == {"TUM", "STR", "LYM", "NEC"}
    assert all(share >= 0.9 for share in record["pseudo_masks"]["kept"].values())
    assert len(record["gate"]["thresholds"]) == 4


def test_no_pickle_is_written(segmented):
    suffixes = {path.suffix for path in segmented.rglob("*") if path.is_file() and "tb" not in path.parts}
    assert suffixes <= {".safetensors", ".json", ".yaml", ".csv", ".parquet", ".png", ""}


def test_its_encoder_starts_from_the_source_and_then_learns(segmented, trained):
    own = load_run(segmented).model.network.encoder.pyramid.state_dict()
    source = load_run(trained).model.backbone.state_dict()
    assert own.keys() == source.keys()
    moved = [(own[name] - source[name]).abs().mean() for name in own if name.endswith("weight") and own[name].ndim == 4]
    assert all(0 < float(distance) < 0.05 for distance in moved)


def test_a_source_that_started_from_pretrained_weights_hands_these_on_unless_told_otherwise(
    command, study, trained, tmp_path
):
    pretrained, source = tmp_path / "backbone.safetensors", tmp_path / "lpd"
    save_file(load_run(trained).model.backbone.state_dict(), pretrained)
    assert command("train", "lpd", study, "--run", source, "--epochs", 1, "--weights", pretrained) == 0
    for options, start in (((), str(pretrained)), (("--weights", "trained"), f"run:{source}")):
        run = tmp_path / f"seg{len(options)}"
        assert command("segment", source, "--run", run, "--epochs", 1, *options) == 0
        assert json.loads((run / "run.json").read_text())["weights"][0]["source"] == start


def test_every_other_command_takes_a_segmenter(command, segmented, study, tmp_path, slide, capsys):
    run = tmp_path / "seg"
    shutil.copytree(segmented, run)
    assert command("evaluate", run, "--split", "val") == 0
    assert command("masks", run, "--split", "val") == 0
    assert command("report", run) == 0
    assert command("predict", run, slide, "--out", tmp_path / "out", "--assume-mpp", "0.5") == 0
    page = (run / "report.html").read_text()
    assert "What it learned from" in page
    assert "50% of the training images were mosaics" in page
    assert "pseudo mask of PHANTOM" in page
    assert "Prototypes" not in page
    capsys.readouterr()
    assert command("explain", run) == 2
    assert "is a segmenter, which has no prototypes" in capsys.readouterr().err


def test_a_segmenter_can_teach_another(command, segmented, tmp_path):
    assert command("segment", segmented, "--run", tmp_path / "next", "--epochs", 1) == 0
    record = json.loads((tmp_path / "next" / "run.json").read_text())
    assert record["pseudo_masks"]["run"] == str(segmented)


def test_rounds_train_one_after_the_other_each_on_the_masks_of_the_one_before(command, trained, tmp_path):
    run = tmp_path / "seg"
    options = ("--rounds", 2, "--epochs", 1, "--relabel", 0.6, "--refine", "superpixels")
    assert command("segment", trained, "--run", run, *options) == 0
    first, last = (json.loads((folder / "run.json").read_text()) for folder in (run / "previous", run))
    assert first["pseudo_masks"]["run"] == str(trained)
    assert first["pseudo_masks"]["inference"]["refine"] == "superpixels"
    assert last["pseudo_masks"]["run"] == str(run / "previous")
    assert last["pseudo_masks"]["inference"]["refine"] == "none"
    assert first["weights"] == last["weights"]


def test_any_encoder_of_the_library_and_other_losses_train(command, trained, tmp_path):
    options = ("--arch", "linknet", "--encoder", "smp:mobilenet_v2", "--loss", "ce-dice", "--epochs", 1)
    assert command("segment", trained, "--run", tmp_path / "seg", *options) == 0
    assert command("evaluate", tmp_path / "seg", "--split", "val") == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("{trained}",), "name a run and a new folder"),
        (("{new}", "--run", "{other}"), "is no run folder"),
        (("{trained}", "--run", "{segmented}"), "already holds a run; go on with it: histoproto segment --resume"),
        (("--resume", "{segmented}"), "is finished (1 epochs)"),
        (("--resume", "{trained}"), "is a run of the first stage; go on with: histoproto train --resume"),
        (("--resume", "{segmented}", "--epochs", "3"), "--resume takes the run folder alone"),
        (("{trained}", "--run", "{new}", "--arch", "unett"), "did you mean unet?"),
        (("{trained}", "--run", "{new}", "--arch", "deeplab-v2"), "needs features at stride 8"),
        (("{trained}", "--run", "{new}", "--encoder", "smp:resnet19"), "did you mean smp:resnet18?"),
        (("{trained}", "--run", "{new}", "--encoder", "small"), "unknown backbone 'small'"),
        (("{trained}", "--run", "{new}", "--weights", "a.pth"), "encoder run starts from the source's weights"),
        (("{trained}", "--run", "{new}", "--encoder", "smp:resnet18", "--weights", "gone.pth"), "gone.pth"),
        (("{trained}", "--run", "{new}", "--arch", "pan", "--encoder", "smp:resnet18"), "does not take patches of 64"),
        (("{trained}", "--run", "{new}", "--keep", "0"), "keep is 0.0"),
        (("{trained}", "--run", "{new}", "--refine", "sam"), "name a folder or hf:org/name"),
        (
            ("{segmented}", "--run", "{new}", "--weights", "trained"),
            "every round starts from the weights that the first",
        ),
        (("{trained}", "--run", "{new}", "--encoder", "mit-b0", "--weights", "trained"), "goes with --encoder run"),
        (("{trained}", "--run", "{new}", "--arch", "dpt"), "dpt takes timm's encoders alone"),
        (("{trained}", "--run", "{new}", "--mosaics", "1.5"), "mosaics share 1.5"),
        (("{trained}", "--run", "{new}", "--relabel", "2"), "relabel is 2.0"),
        (("{trained}", "--run", "{new}", "--rounds", "0"), "rounds is 0"),
    ],
)
def test_what_a_tired_user_gets_wrong_ends_in_one_sentence_and_leaves_nothing(
    arguments, sentence, command, trained, segmented, tmp_path, capsys
):
    places = {"trained": trained, "segmented": segmented, "new": tmp_path / "new", "other": tmp_path / "other"}
    assert command("segment", *(argument.format(**places) for argument in arguments)) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "new").exists()


def test_masks_of_a_run_that_was_trained_again_are_refused(command, trained, study, tmp_path, capsys):
    source, run = tmp_path / "lpd", tmp_path / "seg"
    shutil.copytree(trained, source)
    assert command("segment", source, "--run", run, "--epochs", 1) == 0
    (run / "run.json").unlink()
    shutil.rmtree(run / "checkpoints")
    shutil.rmtree(source)
    assert command("train", "lpd", study, "--run", source, "--epochs", 1, "--batch", 16, "--seed", 9) == 0
    capsys.readouterr()
    assert command("segment", "--resume", run) == 2
    assert "were made from another sha256, gate than" in capsys.readouterr().err
    assert (run / "pseudo_masks" / "manifest.parquet").exists()


def test_a_teacher_that_was_chosen_by_masks_makes_a_val_tuned_segmenter(command, trained, tmp_path):
    source, run = tmp_path / "lpd", tmp_path / "seg"
    shutil.copytree(trained, source)
    record = json.loads((source / "run.json").read_text())
    (source / "run.json").write_text(json.dumps(record | {"val_tuned": True}))
    assert command("segment", source, "--run", run, "--epochs", 1) == 0
    assert json.loads((run / "run.json").read_text())["val_tuned"] is True
    assert command("evaluate", run, "--split", "val") == 0
    assert command("report", run) == 0
    page = (run / "report.html").read_text()
    assert "the run that taught it was, so the model is val-tuned" in page
    assert "label-only" not in page


def test_pseudo_masks_take_white_for_background_whatever_the_source_does(command, study, tmp_path):
    source, run = tmp_path / "lpd", tmp_path / "seg"
    short = ("--epochs", 1, "--batch", 8, "--backbone", "mit-b1", "--preset", "released", "--encoder", "none")
    assert command("train", "lpd", study, "--run", source, *short) == 0
    assert yaml.safe_load((source / "config.yaml").read_text())["inference"]["background"] == "unlikely"
    assert command("segment", source, "--run", run, "--epochs", 1) == 0
    record = json.loads((run / "run.json").read_text())
    assert record["pseudo_masks"]["inference"]["background"] == "white"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("source: elsewhere", "names another source"),
        ("backbone: {frozen: true}", "of which only zoom can be changed"),
        ("modell: {arch: fpn}", "there is no setting modell"),
    ],
)
def test_settings_that_could_only_be_dropped_are_refused(content, sentence, command, trained, tmp_path, capsys):
    file = tmp_path / "settings.yaml"
    file.write_text(content + "\n")
    assert command("segment", trained, "--run", tmp_path / "seg", "--settings", file) == 2
    assert sentence in capsys.readouterr().err


def test_the_settings_of_a_run_make_the_same_run_again(command, segmented, trained, tmp_path):
    assert command("segment", trained, "--run", tmp_path / "again", "--settings", segmented / "config.yaml") == 0
    again = tmp_path / "again" / "checkpoints" / "best" / "model.safetensors"
    assert again.read_bytes() == (segmented / "checkpoints" / "best" / "model.safetensors").read_bytes()


def test_a_run_folder_that_is_a_file_is_refused(command, trained, tmp_path, capsys):
    (tmp_path / "seg").write_text("notes")
    assert command("segment", trained, "--run", tmp_path / "seg") == 2
    assert "cannot be made" in capsys.readouterr().err


def test_mosaics_without_single_label_patches_are_refused(command, tmp_path, capsys):
    study, run = tmp_path / "study", tmp_path / "lpd"
    write_patches(tmp_path / "p", train=40, val=8, test=6, size_px=64, seed=3, on_progress=lambda _count: None)
    for image in (tmp_path / "p" / "training").glob("*.png"):
        digits = image.stem[image.stem.index("[") + 1 : -1]
        if digits.count("1") == 1:
            image.unlink()
    assert command("data", "import", "bcss-wsss", tmp_path / "p", "--out", study) == 0
    assert command("train", "lpd", study, "--run", run, "--epochs", 1, "--batch", 8) == 0
    capsys.readouterr()
    assert command("segment", run, "--run", tmp_path / "seg", "--mosaics", 0.3) == 2
    assert "such patches show no class; train without them: --mosaics 0" in capsys.readouterr().err


def started(*arguments):
    """Start histoproto in a process of its own."""
    line = [sys.executable, "-m", "histoproto", *(str(argument) for argument in arguments)]
    return subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def wait_for(condition, process):
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, "it did not get that far"
        time.sleep(0.02)


def test_the_weights_of_a_refiner_are_recorded_in_every_round(command, trained, tmp_path):
    network, run = save_sam(tmp_path / "sam"), tmp_path / "seg"
    options = ("--refine", "sam", "--refine-weights", network, "--rounds", 2, "--epochs", 1)
    assert command("segment", trained, "--run", run, *options) == 0
    for folder in (run / "previous", run):
        record = RunFolder(folder).read_record()
        assert [entry["source"] for entry in record["weights"]] == [f"run:{trained}", str(network)]
        assert len(record["weights"][1]["sha256"]) == 64
    assert [entry["source"] for entry in weights_behind(RunFolder(run))] == [str(network)]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_while_it_makes_masks_it_looks_unfinished_and_goes_on_as_the_command_that_began_it(
    number, command, trained, segmented, tmp_path, capsys
):
    run = tmp_path / "seg"
    begun = ("segment", trained, "--run", run, "--epochs", "1", "--mosaics", "0.5", "--keep", "0.9", "--seed", "4")
    process = started(*begun)
    wait_for(lambda: list((run / "pseudo_masks").glob("*.png")), process)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == (130 if number == signal.SIGINT else -9)
    assert "Traceback" not in errors
    assert not (run / "pseudo_masks" / "manifest.parquet").exists()
    assert not (run / "checkpoints").exists()
    assert set(RunFolder(run).read_record()) == {"command", "started"}
    assert command("evaluate", run) == 2
    assert f"histoproto segment --resume {run}" in capsys.readouterr().err
    assert command("segment", "--resume", run) == 0
    assert RunFolder(run).read_record()["command"] == ["histoproto", *(str(argument) for argument in begun)]
    file = "checkpoints/best/model.safetensors"
    assert (run / file).read_bytes() == (segmented / file).read_bytes()


@pytest.mark.slow
def test_ctrl_c_while_it_trains_saves_and_says_how_to_go_on(command, trained, tmp_path, capsys):
    run = tmp_path / "seg"
    begun = ("segment", trained, "--run", run, "--epochs", "60", "--batch", "8")
    process = started(*begun)
    wait_for(lambda: (run / "metrics.csv").is_file(), process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130, errors
    record = RunFolder(run).read_record()
    assert record["stopped"] == "interrupted"
    assert "gate" not in record
    assert record["command"] == ["histoproto", *(str(argument) for argument in begun)]
    assert command("evaluate", run) == 2
    assert (run / "checkpoints" / "last" / "optimizer.safetensors").is_file()


@pytest.mark.slow
def test_a_killed_segmenter_resumes_bitwise_through_both_rounds(command, trained, tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text("training: {epochs: 3, batch: 8, save_every_steps: 2}\nmosaics: {share: 0.4, pasted: 0.2}\n")
    whole, killed = tmp_path / "whole", tmp_path / "killed"

    def start(run):
        options = ["--settings", str(settings), "--rounds", "2", "--relabel", "0.5"]
        line = [sys.executable, "-m", "histoproto", "segment", str(trained), "--run", str(run), *options]
        return subprocess.Popen(line, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    assert start(whole).wait() == 0
    process = start(killed)
    for folder in (killed / "previous", killed):
        end = time.monotonic() + 120
        while not ((folder / "metrics.csv").is_file() and len((folder / "metrics.csv").read_text().splitlines()) >= 2):
            assert time.monotonic() < end, "training did not get that far"
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if folder == killed:
            assert command("segment", "--resume", killed) == 0
        else:
            line = [sys.executable, "-m", "histoproto", "segment", "--resume", str(killed)]
            process = subprocess.Popen(line, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    for name in ("checkpoints/last/model.safetensors", "checkpoints/best/model.safetensors"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    masks = sorted(path.name for path in (whole / "pseudo_masks").glob("*.png"))
    assert all((whole / "pseudo_masks" / n).read_bytes() == (killed / "pseudo_masks" / n).read_bytes() for n in masks)
