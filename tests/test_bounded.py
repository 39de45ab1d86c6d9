import pytest
import torch
from torch import nn

from histoproto.bounded import encode_bounded


class Counting(nn.Module):
    """A small network that remembers how many images each call brought."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
        self.calls = []

    def forward(self, images):
        self.calls.append(len(images))
        return self.layers(images)


def passed(at_once):
    """Features, gradient to the images, and the network, of ten images."""
    network = Counting()
    images = torch.rand(
        10, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True
    )
    features = encode_bounded(network, images, at_once)
    features.square().sum().backward()
    return features, images.grad, network


@pytest.mark.parametrize("at_once", [1, 3, 9])
def test_features_and_gradients_are_those_of_one_piece(at_once):
    features, gradient, _ = passed(at_once)
    expected, expected_gradient, _ = passed(10)
    torch.testing.assert_close(features, expected)
    torch.testing.assert_close(gradient, expected_gradient)


def test_all_groups_but_the_last_pass_a_second_time():
    assert passed(4)[2].calls == [4, 4, 2, 4, 4]
    assert passed(10)[2].calls == [10]


@pytest.mark.parametrize("images", [10, 40])
def test_what_is_kept_for_gradients_inside_the_network_does_not_grow_with_the_images(images):
    kept = []

    def keep(tensor):
        if tensor.shape[-2:] == (6, 6):  # of the hidden layer
            kept.append(len(tensor))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        encode_bounded(Counting(), torch.rand(images, 3, 8, 8, dtype=torch.float64, requires_grad=True), 5)
    assert kept and max(kept) == 5
    assert sum(kept) <= 2 * 5  # once for GELU, once for pooling


def test_without_gradients_nothing_passes_twice():
    network = Counting()
    with torch.no_grad():
        encode_bounded(network, torch.rand(10, 3, 8, 8, dtype=torch.float64), 4)
    assert network.calls == [4, 4, 2]
