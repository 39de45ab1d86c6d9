import errno
import resource
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from histoproto.errors import RunError, WeightsError
from histoproto.training import checkpoint
from histoproto.training.checkpoint import (
    TrainState,
    find_checkpoint,
    load_optimizer_tensors,
    load_state,
    load_weights,
    save_checkpoint,
    settle_checkpoint,
)


class Killed(BaseException):
    """Nothing may clean up after it, as after SIGKILL."""


class Tied(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.one = nn.Linear(2, 2)
        self.other = self.one
        self.register_buffer("count", torch.tensor(3))
        nn.init.constant_(self.one.weight, value)


def save(folder, value, step):
    state = TrainState(seed=1, steps_per_epoch=5, step=step, sums={"loss": (0.1, 2)}, history=[{"epoch": 1}])
    save_checkpoint(folder, Tied(value), state, {"exp_avg/one.weight": torch.full((2, 2), value)})


def saved(folder):
    """Return the value in the weights after making sure that all files are of the same save."""
    method = Tied(-1.0)
    load_weights(folder, method)
    value = method.other.weight[0, 0].item()
    assert load_state(folder).step == value
    assert load_optimizer_tensors(folder)["exp_avg/one.weight"][0, 0] == value
    return value


def hidden(folder):
    return [path.name for path in folder.parent.iterdir() if path != folder]


def test_what_is_saved_comes_back_and_ties_stay_ties(tmp_path):
    folder = tmp_path / "checkpoints" / "last"
    save(folder, 4.0, 4)
    assert saved(folder) == 4
    assert load_state(folder) == TrainState(1, 5, 4, sums={"loss": (0.1, 2)}, history=[{"epoch": 1}])
    assert sorted(path.name for path in folder.iterdir()) == [
        "model.safetensors",
        "optimizer.safetensors",
        "state.json",
    ]
    assert not hidden(folder)


@pytest.mark.parametrize("operation", range(7))
def test_killed_at_any_moment_of_a_save_the_old_or_the_new_checkpoint_is_there(tmp_path, monkeypatch, operation):
    folder = tmp_path / "last"
    save(folder, 1.0, 1)
    left = [operation]

    def dying(function):
        def call(*arguments, **keywords):
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return function(*arguments, **keywords)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_model", dying(checkpoint.save_model))
        patch.setattr(checkpoint, "save_file", dying(checkpoint.save_file))
        patch.setattr(Path, "write_text", dying(Path.write_text))
        patch.setattr(Path, "rename", dying(Path.rename))
        patch.setattr(shutil, "rmtree", dying(shutil.rmtree))
        if operation < 6:
            with pytest.raises(Killed):
                save(folder, 2.0, 2)
        else:
            save(folder, 2.0, 2)
    value = saved(folder)
    assert value == (1 if operation < 5 else 2)
    settle_checkpoint(folder)
    assert folder.is_dir()
    assert not hidden(folder)
    assert saved(folder) == value


@pytest.mark.parametrize("which", ["save_model", "save_file"])
def test_a_full_disk_is_one_sentence_and_the_old_checkpoint_stays(tmp_path, monkeypatch, which):
    folder = tmp_path / "last"
    save(folder, 1.0, 1)

    def full(*arguments, **keywords):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, which, full)
        with pytest.raises(RunError, match=r"cannot save the checkpoint .*last: No space left on device; .*--resume$"):
            save(folder, 2.0, 2)
    assert saved(folder) == 1
    assert not hidden(folder)


def test_a_real_write_error_of_the_operating_system_is_one_sentence_too(tmp_path):
    folder = tmp_path / "last"
    save(folder, 1.0, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(RunError, match=r"File too large.*the one before is intact"):
            save(folder, 2.0, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert saved(folder) == 1


def test_no_checkpoint_is_one_sentence(tmp_path):
    with pytest.raises(RunError, match="holds no checkpoint; train first"):
        find_checkpoint(tmp_path / "last")


def test_weights_of_another_method_are_refused(tmp_path):
    save(tmp_path / "last", 1.0, 1)
    with pytest.raises(WeightsError, match=r"does not fit the method of config\.yaml"):
        load_weights(tmp_path / "last", nn.Linear(2, 2))


def test_damaged_files_are_one_sentence_each(tmp_path):
    folder = tmp_path / "last"
    save(folder, 1.0, 1)
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(WeightsError, match=r"model\.safetensors cannot be read"):
        load_weights(folder, Tied(0.0))
    with pytest.raises(RunError, match=r"optimizer\.safetensors cannot be read"):
        load_optimizer_tensors(folder)
    with pytest.raises(RunError, match=r"state\.json is damaged"):
        load_state(folder)
