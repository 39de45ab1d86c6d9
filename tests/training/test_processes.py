"""What only another process can show: training together, and SIGKILL. One process serves both: it is slow to start."""

import os
import socket
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from tests.training.test_fit import assert_same_run, rows
from tests.training.toy import Toy, train, train_together


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Train ``two`` together with another process, which then trains ``killed`` until it dies."""
    base = tmp_path_factory.mktemp("processes")
    torch.set_num_threads(1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pair = {
        "TORCHELASTIC_RUN_ID": "test",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    with (
        subprocess.Popen(
            [sys.executable, "-m", "tests.training.toy", str(base)],
            env=os.environ | pair | {"RANK": "1", "LOCAL_RANK": "1"},
            stderr=subprocess.PIPE,
            text=True,
        ) as other,
        pytest.MonkeyPatch.context() as patch,
    ):
        while not (base / "ready").exists():
            assert other.poll() is None, other.communicate()[1]
            time.sleep(0.1)
        for name, value in (pair | {"RANK": "0", "LOCAL_RANK": "0"}).items():
            patch.setenv(name, value)
        train_together(base / "two")
        _, errors = other.communicate(timeout=120)
        assert other.returncode == -9, errors
    return base


def test_two_processes_take_the_same_steps_as_one_with_the_whole_batch(folder, tmp_path):
    method, _ = train_together(tmp_path)
    for one, two in zip(rows(tmp_path), rows(folder / "two"), strict=True):
        for name in ("loss", "classification", "late", "holdout_loss"):
            if one.get(name):
                assert float(one[name]) == pytest.approx(float(two[name]), abs=1e-5)
    weights = load_file(folder / "two/checkpoints/last/model.safetensors")
    for name, tensor in method.state_dict().items():
        torch.testing.assert_close(weights[name], tensor, atol=1e-5, rtol=1e-5)


def test_a_run_killed_in_mid_epoch_and_resumed_is_bitwise_the_run_that_was_not(folder, tmp_path):
    assert len(rows(folder / "killed")) == 1
    train(folder / "killed", Toy(), resume=True)
    train(tmp_path, Toy())
    assert_same_run(folder / "killed", tmp_path)
