"""torchvision's ResNet-18 and ResNet-50 as pyramids.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016. The last stage keeps the resolution, as is usual
in weakly supervised segmentation: its first convolutions lose their stride and the 3×3 convolutions behind them are
dilated by two (the same receptive field, the same weights).

Differences: each level ends in a BatchNorm of its own that learns from the study. Levels after a ReLU have no negative
values, so all their pixels point in much the same direction and cosines between them hardly differ.
"""

from collections.abc import Sequence
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.resnet import ResNet as TorchvisionResNet

from histoproto.backbones.frozen_norm import hold_statistics
from histoproto.contracts import FeaturePyramid, LoadedWeights
from histoproto.normalise import Normalise
from histoproto.weights import initialise

LICENCE = "BSD-3-Clause (torchvision); trained on ImageNet, which is for non-commercial research"
HEADS = ("fc.",)
"""Prefixes of the classification head in published files."""
VARIANTS: dict[str, tuple[type[BasicBlock | Bottleneck], tuple[int, int, int, int]]] = {
    "18": (BasicBlock, (2, 2, 2, 2)),
    "50": (Bottleneck, (3, 4, 6, 3)),
}
"""Kind of block and number of blocks per stage (the paper's table 1)."""


class ResNet(FeaturePyramid):
    """Levels of 64, 128, 256 and 512 channels, times four for bottlenecks, at strides 4, 8, 16 and ``last_stride``.

    Args:
        block: kind of block.
        depths: blocks of each stage.
        normalise: input normalisation; ImageNet's where None.
        last_stride: 32 as trained on ImageNet, or 16 by dilation.
        frozen_norm: whether the trunk's BatchNorm keeps its running statistics while everything else trains.
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        depths: Sequence[int],
        normalise: Normalise | None = None,
        last_stride: Literal[16, 32] = 16,
        frozen_norm: bool = False,
    ) -> None:
        super().__init__()
        self.channels = tuple(width * block.expansion for width in (64, 128, 256, 512))
        self.strides = (4, 8, 16, last_stride)
        self.normalise = normalise or Normalise()
        self.frozen_norm = frozen_norm
        self.trunk = TorchvisionResNet(block, list(depths))
        del self.trunk.fc, self.trunk.avgpool
        if last_stride == 16:
            _dilate(self.trunk.layer4)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in self.channels)
        self.train()

    def train(self, mode: bool = True) -> "ResNet":
        """Set the mode of everything but a frozen BatchNorm."""
        super().train(mode)
        if self.frozen_norm:
            hold_statistics(self.trunk)
        return self

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Return four maps, finest first, of any sign."""
        trunk = self.trunk
        x = trunk.maxpool(trunk.relu(trunk.bn1(trunk.conv1(self.normalise(images)))))
        levels = []
        for stage, norm in zip((trunk.layer1, trunk.layer2, trunk.layer3, trunk.layer4), self.norms, strict=True):
            x = stage(x)
            levels.append(norm(x))
        return levels


def _dilate(stage: nn.Sequential) -> None:
    # A 3x3 convolution that loses its stride reads the same grid as before; those behind it see one twice as fine.
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            if module.stride == (2, 2):
                module.stride = (1, 1)
            elif module.kernel_size == (3, 3):
                module.dilation = (2, 2)
                module.padding = (2, 2)


def resnet(
    variant: str,
    weights: str | None = None,
    normalise: Normalise | None = None,
    last_stride: Literal[16, 32] = 16,
    frozen_norm: bool | None = None,
) -> tuple[ResNet, LoadedWeights]:
    """Build a ResNet, filled from a torchvision state dict where a source is given.

    Args:
        variant: ``18`` or ``50``.
        weights: a torchvision state dict, such as ``resnet50-11ad3fa6.pth``, or timm's of ``resnet18`` or ``resnet50``,
            whose names are the same; or none.
        normalise: input normalisation; None for ImageNet's.
        last_stride: as for ``ResNet``.
        frozen_norm: as for ``ResNet``; None freezes what was loaded, as random weights have no statistics to keep.

    Raises:
        WeightsError: if the weights cannot be read or do not fit.
    """
    block, depths = VARIANTS[variant]
    network = ResNet(block, depths, normalise, last_stride)
    loaded = initialise(network.trunk, weights, ignore=HEADS, licence=LICENCE)
    network.frozen_norm = bool(loaded.tensors) if frozen_norm is None else frozen_norm
    return network.train(), loaded
