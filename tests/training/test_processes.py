"""What only whole processes can show: SIGKILL, and two processes that train together."""

import os
import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest
import torch
from safetensors.torch import load_file

from tests.training.test_fit import _one_thread, assert_same_run, rows
from tests.training.toy import Toy, train

__all__ = ["_one_thread"]


@pytest.fixture
def start():
    """Return a function that starts the toy as a process of its own, which does not outlive the test."""
    with ExitStack() as started:

        def begin(*arguments, **environment):
            process = started.enter_context(_process(*arguments, **environment))
            started.callback(process.kill)
            return process

        yield begin


def _process(*arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.training.toy", *map(str, arguments)],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"} | environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_run_killed_in_mid_epoch_and_resumed_is_bitwise_the_run_that_was_not(tmp_path, start):
    killed = start("killed_at_step", tmp_path / "killed", 8)
    train(tmp_path / "whole")
    _, errors = killed.communicate(timeout=120)
    assert killed.returncode == -9, errors
    assert len(rows(tmp_path / "killed")) == 1
    train(tmp_path / "killed", resume=True)
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


def test_two_processes_take_the_same_steps_as_one_with_the_whole_batch(tmp_path, start):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = [
        start(
            "several_processes",
            tmp_path / "two",
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE="2",
            LOCAL_WORLD_SIZE="2",
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(port),
            TORCHELASTIC_RUN_ID="test",
        )
        for rank in (0, 1)
    ]
    method, _ = train(tmp_path / "one", Toy(dropout=0.0), epochs=6, patches=8)
    for process in both:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    for one, two in zip(rows(tmp_path / "one"), rows(tmp_path / "two"), strict=True):
        for name in ("loss", "classification", "late", "holdout_loss"):
            if one.get(name):
                assert float(one[name]) == pytest.approx(float(two[name]), abs=1e-5)
    weights = load_file(tmp_path / "two/checkpoints/last/model.safetensors")
    for name, tensor in method.state_dict().items():
        torch.testing.assert_close(weights[name], tensor, atol=1e-5, rtol=1e-5)
