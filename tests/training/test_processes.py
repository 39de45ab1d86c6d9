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
from tests.training.toy import (
    Toy,
    a_batch,
    normalise,
    normalise_together,
    train,
    train_together,
    train_together_until_told_to_stop,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Train ``two`` and half of ``fewer`` with another process, which then trains ``killed`` until it dies."""
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
        train_together_until_told_to_stop(base / "fewer")
        normalise_together(base / "share")
        _, errors = other.communicate(timeout=120)
        assert other.returncode == -9, errors
    return base


def assert_about_the_same_run(folder, other):
    for one, two in zip(rows(folder), rows(other), strict=True):
        for name in ("loss", "classification", "late", "holdout_loss"):
            if one.get(name):
                assert float(one[name]) == pytest.approx(float(two[name]), abs=1e-5)
    weights, others = (load_file(place / "checkpoints/last/model.safetensors") for place in (folder, other))
    for name, tensor in others.items():
        torch.testing.assert_close(weights[name], tensor, atol=1e-5, rtol=1e-5)


def test_two_processes_take_the_same_steps_as_one_with_the_whole_batch(folder, tmp_path):
    train_together(tmp_path)
    assert_about_the_same_run(folder / "two", tmp_path)


def test_one_process_goes_on_where_two_were_stopped(folder, tmp_path):
    assert len(rows(folder / "fewer")) == 3
    train_together(folder / "fewer", resume=True)
    train_together(tmp_path)
    assert_about_the_same_run(folder / "fewer", tmp_path)


def test_batch_norm_over_two_shares_is_batch_norm_over_the_batch(folder):
    whole = normalise(*a_batch())
    first, second = (load_file(folder / f"share{rank}.safetensors") for rank in range(2))
    for name in ("out", "values"):
        torch.testing.assert_close(torch.cat([first[name], second[name]]), whole[name], atol=1e-5, rtol=1e-5)
    for name in ("weight", "bias"):
        torch.testing.assert_close(first[name] + second[name], whole[name], atol=1e-5, rtol=1e-5)
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(first[name], whole[name])
        assert torch.equal(first[name], second[name])


def test_a_run_killed_in_mid_epoch_and_resumed_is_bitwise_the_run_that_was_not(folder, tmp_path):
    assert len(rows(folder / "killed")) == 1
    train(folder / "killed", Toy(), resume=True)
    train(tmp_path, Toy())
    assert_same_run(folder / "killed", tmp_path)
