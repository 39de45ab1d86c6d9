"""A small convolutional pyramid that learns from random weights on two CPU cores.

Each block has one 3×3 and one 1×1 convolution, which keeps the receptive field at 15, 39, 87 and 119 px on
the four levels: class maps learned from image labels stay where the tissue is.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from histoproto.backbones.normalise import Normalise
from histoproto.backbones.weights import initialise
from histoproto.contracts import FeaturePyramid, LoadedWeights


class ConvNorm(nn.Sequential):
    """Convolution and BatchNorm."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
        )


class Residual(nn.Module):
    """``relu(x + norm(conv1x1(relu(norm(conv3x3(x))))))``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial = ConvNorm(channels, channels, 3)
        self.mix = ConvNorm(channels, channels, 1)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Tensor:
        """Return a map of the same shape, not negative."""
        return torch.relu(x + self.mix(torch.relu(self.spatial(x))))


class SmallConv(FeaturePyramid):
    """Four levels at strides 4, 8, 16, 16.

    Args:
        widths: feature channels of the four levels.
        blocks: residual blocks per level.
        normalise: input normalisation; ImageNet's where None.
    """

    def __init__(self, widths: Sequence[int], blocks: int, normalise: Normalise | None = None) -> None:
        super().__init__()
        self.channels = tuple(widths)
        self.strides = (4, 8, 16, 16)
        self.normalise = normalise or Normalise()
        half = widths[0] // 2
        first = nn.Sequential(ConvNorm(3, half, 3, 2), nn.ReLU(), ConvNorm(half, widths[0], 3, 2))
        entries = [
            first,
            ConvNorm(widths[0], widths[1], 3, 2),
            ConvNorm(widths[1], widths[2], 3, 2),
            ConvNorm(widths[2], widths[3], 1),
        ]
        self.stages = nn.ModuleList(
            nn.Sequential(entry, nn.ReLU(), *(Residual(width) for _ in range(blocks)))
            for entry, width in zip(entries, widths, strict=True)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Return four maps, finest first, not negative."""
        x = self.normalise(images)
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        return levels


def small_conv(
    weights: str | None = None,
    normalise: Normalise | None = None,
    widths: Sequence[int] = (48, 96, 192, 256),
    blocks: int = 1,
) -> tuple[SmallConv, LoadedWeights]:
    """Build the small pyramid, from random weights unless a file of its own tensors is given."""
    network = SmallConv(widths, blocks, normalise)
    return network, initialise(network, weights)
