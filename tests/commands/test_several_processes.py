"""Trainings under torchrun, as docs/training.md shows them: two processes here, and two machines on the loopback."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ALIKE = 1e-4
"""Largest difference of a loss, and of all weights together by their length: sums in another order differ by 1e-7, but
AdamW divides gradients by their own size, so a weight whose gradient is near zero may go the other way."""
SETTINGS = "training: {epochs: 3, batch: 8, lr: 0.0003}\n"
"""Five steps an epoch, all within LPD's warm-up: the class loss alone, whose patches do not depend on each other.

At three times this rate training swings on so few patches, and every rounding grows fivefold an epoch; statistics of a
process's own share would show in the first epoch, by 6e-3."""


def start(arguments, launch=()):
    """Start histoproto under torchrun; it has no GPU, so processes speak through gloo."""
    line = [sys.executable, "-m", "torch.distributed.run", *launch, "-m", "--", "histoproto"]
    return subprocess.Popen(
        [*line, *(str(argument) for argument in arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*processes):
    """Wait for all and return what each has printed."""
    ended = [process.communicate(timeout=300) for process in processes]
    for process, (_, errors) in zip(processes, ended, strict=True):
        assert process.returncode == 0, errors
    return [out for out, _ in ended]


def two_here(*arguments):
    return finish(start(arguments, ("--nproc-per-node", "2", "--master-port", str(free_port()))))[0]


def two_machines(*arguments):
    where = ("--nnodes", "2", "--nproc-per-node", "1", "--master-addr", "127.0.0.1", "--master-port", str(free_port()))
    return finish(*(start(arguments, (*where, "--node-rank", str(rank))) for rank in range(2)))


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def weights(run):
    tensors = load_file(run / "checkpoints/last/model.safetensors")
    return torch.cat([tensors[name].flatten() for name in sorted(tensors) if tensors[name].is_floating_point()])


def assert_same_training(run, other):
    ours, theirs = (pd.read_csv(folder / "metrics.csv").drop(columns="seconds") for folder in (run, other))
    pd.testing.assert_frame_equal(ours, theirs, rtol=0, atol=ALIKE)
    assert (weights(run) - weights(other)).norm() < ALIKE * weights(other).norm()


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    file = tmp_path_factory.mktemp("settings") / "settings.yaml"
    file.write_text(SETTINGS)
    return file


@pytest.fixture(scope="module")
def alone(command, study, settings, tmp_path_factory):
    """The same training in one process."""
    run = tmp_path_factory.mktemp("runs") / "alone"
    assert command("train", "lpd", study, "--run", run, "--settings", settings) == 0
    return run


def test_two_processes_train_what_one_trains_and_one_of_them_speaks(alone, study, settings, tmp_path):
    run = tmp_path / "two"
    printed = two_here("train", "lpd", study, "--run", run, "--settings", settings)
    assert_same_training(run, alone)
    assert printed.count("Next:") == 1
    record = json.loads((run / "run.json").read_text())
    assert record["command"][:5] == ["histoproto", "train", "lpd", str(study), "--run"]
    assert record["gate"]["thresholds"] == pytest.approx(
        json.loads((alone / "run.json").read_text())["gate"]["thresholds"], abs=1e-3
    )


def test_two_machines_train_what_one_trains(alone, study, settings, tmp_path):
    printed = two_machines("train", "lpd", study, "--run", tmp_path / "nodes", "--settings", settings)
    assert_same_training(tmp_path / "nodes", alone)
    assert sum(part.count("Next:") for part in printed) == 1


def test_both_rounds_of_a_segmenter_train_in_two_processes(command, trained, tmp_path):
    options = ("--rounds", 2, "--epochs", 1, "--batch", 40, "--seed", 2)
    two_here("segment", trained, "--run", tmp_path / "two", *options)
    assert command("segment", trained, "--run", tmp_path / "one", *options) == 0
    for folder in ("previous", "."):
        two, one = (tmp_path / name / folder for name in ("two", "one"))
        assert "gate" in json.loads((two / "run.json").read_text())
        ours, theirs = (pd.read_csv(place / "metrics.csv").iloc[0] for place in (two, one))
        assert ours["labels"] == pytest.approx(theirs["labels"], abs=ALIKE)
        assert ours["mask"] == pytest.approx(theirs["mask"], rel=0.05)  # a mean over each process's known pixels
    first_masks = sorted((tmp_path / "one/previous/pseudo_masks").glob("*.png"))
    assert first_masks
    for mask in first_masks:
        assert (tmp_path / "two/previous/pseudo_masks" / mask.name).read_bytes() == mask.read_bytes()


def test_the_page_shows_no_line_that_torchrun_refuses():
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    lines = [line for line in page.splitlines() if "histoproto train" in line or "histoproto segment" in line]
    under_torchrun = [line for line in lines if " -m " in line]
    assert under_torchrun
    assert all(" -m -- histoproto " in line for line in under_torchrun)
