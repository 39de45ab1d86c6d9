import pytest
import torch
from safetensors.torch import load_file

from histoproto.errors import ConfigError
from histoproto.training.settings import TrainSettings

from .toy import Toy, train


def weights_of(folder, name):
    return load_file(folder / "checkpoints" / f"{name}.safetensors")


def test_the_average_follows_the_weights_step_by_step_and_is_what_best_keeps(tmp_path):
    seen = []

    started = Toy(at_step=lambda step: seen.append(started.head.weight.detach().clone()))
    expected = started.head.weight.detach().clone()
    train(tmp_path, started, epochs=2, average=0.9, choose_by="last")
    for step, weight in enumerate(seen):
        momentum = min(0.9, (step + 1) / (step + 10))
        expected = momentum * expected + (1 - momentum) * weight
    torch.testing.assert_close(weights_of(tmp_path, "best/model")["head.weight"], expected)
    assert torch.equal(weights_of(tmp_path, "last/model")["head.weight"], seen[-1])


def test_the_holdout_loss_judges_the_average(tmp_path):
    _, plain = train(tmp_path / "plain", epochs=2)
    _, averaged = train(tmp_path / "averaged", epochs=2, average=0.99)
    assert torch.equal(*(weights_of(tmp_path / name, "last/model")["head.weight"] for name in ("plain", "averaged")))
    assert averaged.best_figure != plain.best_figure


def test_a_resumed_average_is_bitwise_the_same(tmp_path):
    def kill(step):
        if step == 7:
            raise KeyboardInterrupt

    train(tmp_path / "whole", epochs=3, average=0.9, save_every_steps=2)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", Toy(at_step=kill), epochs=3, average=0.9, save_every_steps=2)
    train(tmp_path / "cut", epochs=3, average=0.9, save_every_steps=2, resume=True)
    for name in ("best/model", "last/model", "last/average"):
        whole, cut = (weights_of(tmp_path / folder, name) for folder in ("whole", "cut"))
        assert whole.keys() == cut.keys()
        assert all(torch.equal(whole[key], cut[key]) for key in whole)


def test_a_momentum_out_of_range_is_refused():
    with pytest.raises(ConfigError, match="below 1"):
        TrainSettings(average=1.0)
