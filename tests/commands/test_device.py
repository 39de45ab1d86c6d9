import json
import shutil

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from histoproto.device import take_gpu
from histoproto.inference import evidence
from histoproto.inference import slide as slide_prediction
from tests.commands.conftest import run_command
from tests.pretend_device import pretended_device


@pytest.fixture
def elsewhere(monkeypatch):
    """A device that commands take for the fastest; a list of one entry for each time they asked."""
    with pretended_device() as device:
        asked = []
        monkeypatch.setattr("histoproto.wiring.runs.fastest_device", lambda: asked.append(device) or device)
        # tensors of inference mode cannot be stood for
        without_gradients = torch.no_grad()(evidence.tile_maps.__wrapped__)
        monkeypatch.setattr(evidence, "tile_maps", without_gradients)
        monkeypatch.setattr(slide_prediction, "tile_maps", without_gradients)
        monkeypatch.setattr(torch, "inference_mode", torch.no_grad)
        yield asked


def masks_of(folder):
    return {file.name: np.asarray(Image.open(file)) for file in sorted(folder.glob("*.png"))}


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory):
    copy = tmp_path_factory.mktemp("device") / "run"
    shutil.copytree(trained, copy)
    return copy


@pytest.fixture(scope="module")
def on_cpu(run, slide, patches, tmp_path_factory):
    """What the commands make on the CPU."""
    out = tmp_path_factory.mktemp("cpu")
    return all_that_commands_make(run, slide, patches, out)


def all_that_commands_make(run, slide, patches, out):
    picture = next((patches / "test" / "img").glob("*.png"))
    assert run_command("evaluate", run, "--refine", "crf") == 0
    metrics = json.loads((run / "eval" / "metrics.json").read_text(encoding="utf-8"))
    made = {"metrics": metrics, "eval": masks_of(run / "eval" / "masks")}
    assert run_command("masks", run, "--split", "val", "--refine", "affinity") == 0
    made["masks"] = masks_of(run / "masks" / "val")
    shutil.rmtree(run / "masks")
    assert run_command("predict", run, picture, slide, "--out", out) == 0
    made["picture"] = masks_of(out / picture.stem)["mask.png"]
    made["slide"] = tifffile.imread(out / slide.stem / "labels.ome.tif")
    assert run_command("explain", run, "--split", "val", "--out", out / "explain") == 0
    return made


def test_commands_use_the_fastest_device_and_make_there_what_they_make_on_the_cpu(
    run, slide, patches, on_cpu, elsewhere, tmp_path
):
    there = all_that_commands_make(run, slide, patches, tmp_path)
    assert len(elsewhere) == 4, "one of the four commands left its model on the CPU"
    for name in ("picture", "slide"):
        np.testing.assert_array_equal(there[name], on_cpu[name])
    for name in ("eval", "masks"):
        for file, mask in on_cpu[name].items():
            np.testing.assert_array_equal(there[name][file], mask)
    assert there["metrics"]["classification"]["mean"] == pytest.approx(on_cpu["metrics"]["classification"]["mean"])


def test_workers_take_the_gpus_in_turn(monkeypatch):
    taken = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    for place in (0, 3, 5):
        take_gpu(place)
    assert taken == [0, 3, 1]


def test_a_full_gpu_is_one_sentence(monkeypatch, capsys):
    def allocate(*_arguments, **_options):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has 8 GiB.")

    monkeypatch.setattr("histoproto.cli.app", allocate)
    assert run_command("train") == 2
    said = capsys.readouterr().err
    assert said.startswith("OutOfMemoryError: the GPU's memory is full; train with a lower --batch")
    assert said.endswith("(CUDA out of memory)\n")
