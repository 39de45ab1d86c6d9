import pytest
import torch
from torch import nn

from histoproto.errors import RunError
from histoproto.training.optimizer import make_optimizer, optimizer_tensors, restore_optimizer, set_lr
from histoproto.training.settings import TrainSettings


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Conv2d(3, 4, 1)
        self.norm = nn.LayerNorm(4)
        self.scale = nn.Parameter(torch.ones(1, 1))
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.head = nn.Linear(4, 2)
        self.tied = self.head


def groups(settings):
    method = Small()
    names = {parameter: name for name, parameter in method.named_parameters()}
    return {
        (group["lr_factor"], group["weight_decay"]): {names[parameter] for parameter in group["params"]}
        for group in make_optimizer(method, settings).param_groups
    }


def test_norms_biases_and_scales_do_not_decay_and_the_backbone_has_its_own_rate():
    assert groups(TrainSettings(weight_decay=0.1, backbone_lr_factor=0.5)) == {
        (0.5, 0.1): {"backbone.weight"},
        (0.5, 0.0): {"backbone.bias"},
        (1.0, 0.1): {"head.weight"},
        (1.0, 0.0): {"norm.weight", "norm.bias", "scale", "head.bias"},
    }


def test_the_released_codes_let_everything_decay():
    everything = {"backbone.weight", "backbone.bias", "head.weight", "head.bias", "norm.weight", "norm.bias", "scale"}
    assert groups(TrainSettings(weight_decay=0.1, decay_everything=True)) == {(1.0, 0.1): everything}


def stepped(method, optimizer):
    set_lr(optimizer, 0.01)
    features = method.backbone(torch.ones(2, 3, 2, 2)).mean((-2, -1))
    method.head(method.scale * method.norm(features)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def test_a_restored_optimizer_goes_on_bitwise_the_same():
    method = Small()
    optimizer = make_optimizer(method, TrainSettings())
    stepped(method, optimizer)
    tensors = {name: tensor.clone() for name, tensor in optimizer_tensors(method, optimizer).items()}
    assert {"exp_avg/head.weight", "exp_avg_sq/scale", "step/backbone.bias"} <= set(tensors)
    twin = Small()
    twin.load_state_dict(method.state_dict())
    restored = make_optimizer(twin, TrainSettings())
    restore_optimizer(twin, restored, tensors)
    stepped(method, optimizer)
    stepped(twin, restored)
    assert all(torch.equal(one, other) for one, other in zip(method.parameters(), twin.parameters(), strict=True))


@pytest.mark.parametrize("entry", [("exp_avg/other", (2, 4)), ("exp_avg/head.weight", (3, 4))])
def test_a_state_of_another_method_is_refused(entry):
    method = Small()
    name, shape = entry
    with pytest.raises(RunError, match="does not fit the method"):
        restore_optimizer(method, make_optimizer(method, TrainSettings()), {name: torch.zeros(shape)})
