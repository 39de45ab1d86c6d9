import pytest
import torch

from histoproto.frozen import Frozen, Pretrained, freeze, pretrained_tensors


def network():
    return torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.5), torch.nn.BatchNorm1d(4))


@pytest.mark.parametrize("kind", [Frozen, Pretrained])
def test_a_parents_train_does_not_wake_a_frozen_network(kind):
    parent = torch.nn.Sequential(kind(network()))

    parent.train()

    assert parent.training
    assert not any(module.training for module in parent[0].network.modules())


@pytest.mark.parametrize("kind", [Frozen, Pretrained])
def test_gradient_passes_a_frozen_network_and_stays_out_of_its_weights(kind):
    frozen = kind(torch.nn.Linear(4, 2))
    x = torch.randn(3, 4, requires_grad=True)

    frozen(x).sum().backward()

    assert x.grad.abs().sum() > 0
    assert all(weight.grad is None and not weight.requires_grad for weight in frozen.network.parameters())


def test_what_its_source_gives_back_is_in_no_checkpoint():
    assert not list(torch.nn.Sequential(freeze(network(), pretrained=True)).state_dict())
    assert list(torch.nn.Sequential(freeze(network(), pretrained=False)).state_dict())


def test_tensors_of_pretrained_networks_have_the_names_that_a_frozen_one_gives_them():
    given = torch.nn.Sequential(torch.nn.Linear(2, 2), freeze(network(), pretrained=True))
    held = torch.nn.Sequential(torch.nn.Linear(2, 2), freeze(network(), pretrained=False))

    assert given.state_dict().keys() | pretrained_tensors(given).keys() == held.state_dict().keys()
    assert pretrained_tensors(held) == {}


def test_a_pretrained_network_follows_its_holder_to_another_float_type():
    parent = torch.nn.Sequential(Pretrained(torch.nn.Linear(4, 2)))

    parent.to(torch.float64)

    assert parent(torch.ones(1, 4, dtype=torch.float64)).dtype == torch.float64
