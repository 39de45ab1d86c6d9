import pytest
import torch

from histoproto.errors import ConfigError
from histoproto.presets.settings import BackboneSettings
from histoproto.wiring.parts import pyramid


def kept(recompute, name):
    """Numbers that a training pass keeps for gradients; the pass's levels and the gradient to the images."""
    torch.manual_seed(0)
    network, _ = pyramid(BackboneSettings(name, recompute=recompute))
    network.train()
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    numbers = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda held: (numbers.append(held.numel()), held)[1], lambda held: held
    ):
        torch.manual_seed(2)
        levels = network(images)
    sum(level.square().mean() for level in levels).backward()
    return sum(numbers), levels, images.grad


@pytest.mark.parametrize(("name", "share"), [("mit-b0", 0.3), ("timm:resnet18", 0.8)])
def test_less_is_kept_and_levels_and_gradients_are_the_same(name, share):
    plain, levels, gradient = kept(False, name)
    fewer, again, gradient_again = kept(True, name)
    assert fewer < share * plain
    for level, other in zip(levels, again, strict=True):
        torch.testing.assert_close(level, other)
    torch.testing.assert_close(gradient, gradient_again)


def test_a_backbone_without_the_switch_says_so():
    with pytest.raises(ConfigError, match=r"backbone\.recompute does not work with small-conv"):
        pyramid(BackboneSettings("small-conv", recompute=True))
