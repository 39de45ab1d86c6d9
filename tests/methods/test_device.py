import pytest
import torch

from tests.methods.law_cases import all_cases, batch
from tests.pretend_device import pretended_device

SIDE_PX = 128


def all_that_networks_compute(case, device):
    """Loss, its gradients, class maps and prototype maps, computed there and brought here."""
    method, _ = case.build()
    method.to(device)
    images, labels = (tensor.to(device) for tensor in batch(SIDE_PX, SIDE_PX))
    torch.manual_seed(5)
    loss = method.train().training_step(images, labels, step=0).loss
    loss.backward()
    gradients = [weight.grad for weight in method.parameters() if weight.grad is not None]
    method.after_step(0)
    method.eval()
    found = [loss, *gradients, method.class_maps(images).maps, method.prototype_maps(images)]
    return [tensor.detach().cpu() for tensor in found]


@pytest.mark.parametrize("case", all_cases(), ids=str)
def test_a_method_computes_on_another_device_what_it_computes_on_the_cpu(case):
    with pretended_device() as device:
        there = all_that_networks_compute(case, device)
    for one, other in zip(there, all_that_networks_compute(case, torch.device("cpu")), strict=True):
        torch.testing.assert_close(one, other)


def test_tensors_of_two_devices_do_not_meet():
    with pretended_device() as device, pytest.raises(RuntimeError, match="two devices"):
        torch.ones(2, device=device) + torch.ones(2)
