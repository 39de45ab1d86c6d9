"""A small convolutional pyramid that learns from random weights on two CPU cores.

One residual block of two 3x3 convolutions per level (He et al., "Deep Residual Learning", CVPR 2016). The receptive
field stays at 15, 39, 87 and 151 px on the four levels: class maps learned from image labels stay where the
tissue is.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from histoproto.contracts import FeaturePyramid, LoadedWeights
from histoproto.normalise import Normalise
from histoproto.weights import initialise


class ConvNorm(nn.Sequential):
    """Convolution and BatchNorm."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
        )


class Residual(nn.Module):
    """``relu(norm(conv(relu(norm(conv(x))))) + norm(conv1x1(pool(x))))``; the first convolution has the stride."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = ConvNorm(inputs, outputs, 3, stride)
        self.second = ConvNorm(outputs, outputs, 3)
        self.pool = nn.AvgPool2d(stride, ceil_mode=True)
        self.shortcut = ConvNorm(inputs, outputs, 1)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Tensor:
        """Return a map of ``height / stride`` by ``width / stride``, rounded up, not negative."""
        return torch.relu(self.second(torch.relu(self.first(x))) + self.shortcut(self.pool(x)))


class SmallConv(FeaturePyramid):
    """Four levels at strides 4, 8, 16, 16.

    Args:
        widths: feature channels of the four levels.
        normalise: input normalisation; ImageNet's where None.
    """

    def __init__(self, widths: Sequence[int], normalise: Normalise | None = None) -> None:
        super().__init__()
        self.channels = tuple(widths)
        self.strides = (4, 8, 16, 16)
        self.normalise = normalise or Normalise()
        stem = 3 * widths[0] // 4
        self.stem = nn.Sequential(ConvNorm(3, stem, 3, 2), nn.ReLU())
        self.stages = nn.ModuleList(
            Residual(inputs, outputs, stride)
            for inputs, outputs, stride in zip((stem, *widths[:-1]), widths, (2, 2, 2, 1), strict=True)
        )

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Return four maps, finest first, not negative."""
        x = self.stem(self.normalise(images))
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        return levels


def small_conv(
    weights: str | None = None,
    normalise: Normalise | None = None,
    widths: Sequence[int] = (32, 64, 128, 192),
) -> tuple[SmallConv, LoadedWeights]:
    """Build the small pyramid, from random weights unless a file of its own tensors is given."""
    network = SmallConv(widths, normalise)
    return network, initialise(network, weights)
