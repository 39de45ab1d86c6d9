"""torchvision's MobileNetV2 as a pyramid.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018. BatchNorm always keeps
its statistics: published files may have them folded into the convolutions, and small batches of stained
tissue are far from ImageNet's.

Differences: each level ends in a BatchNorm of its own that learns from the study, as MiT's levels end in a LayerNorm.
Without it the levels share a large constant direction, cosines to it hardly differ from pixel to pixel, and
prototypes do not learn.
"""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import mobilenet_v2 as torchvision_mobilenet_v2

from histoproto.backbones.frozen_norm import hold_statistics
from histoproto.contracts import FeaturePyramid, LoadedWeights
from histoproto.normalise import Normalise
from histoproto.weights import initialise

LICENCE = "BSD-3-Clause (torchvision); trained on ImageNet, which is for non-commercial research"
ENDS = (4, 7, 14, 18)
"""One past the last block of each level among torchvision's ``features``."""


class MobileNetV2(FeaturePyramid):
    """Levels of 24, 32, 96 and 320 channels at strides 4, 8, 16 and ``last_stride``.

    Args:
        last_stride: 32 as trained on ImageNet, or 16, where the last stage keeps the resolution and its
            3×3 convolutions are dilated by two instead (the same receptive field, the same weights).
        normalise: input normalisation; ImageNet's where None.
        frozen_levels: how many of the finest levels keep the weights they are loaded with; they see edges and
            colours, which transfer, and cost most of the time.
    """

    def __init__(
        self,
        last_stride: Literal[16, 32] = 16,
        normalise: Normalise | None = None,
        frozen_levels: int = 0,
    ) -> None:
        super().__init__()
        self.channels = (24, 32, 96, 320)
        self.strides = (4, 8, 16, last_stride)
        self.normalise = normalise or Normalise()
        self.features: nn.Sequential = torchvision_mobilenet_v2(weights=None).features[: ENDS[-1]]
        if last_stride == 16:
            _dilate(self.features[ENDS[-2] :])
        if frozen_levels:
            self.features[: ENDS[frozen_levels - 1]].requires_grad_(False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in self.channels)
        self.train()

    def train(self, mode: bool = True) -> "MobileNetV2":
        """Set the mode of everything but ImageNet's BatchNorm, which stays in evaluation mode."""
        super().train(mode)
        hold_statistics(self.features)
        return self

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Return four maps, finest first, of any sign (linear bottlenecks)."""
        x = self.normalise(images)
        levels = []
        start = 0
        for end, norm in zip(ENDS, self.norms, strict=True):
            x = self.features[start:end](x)
            levels.append(norm(x))
            start = end
        return levels


def _dilate(stage: nn.Sequential) -> None:
    # The stage's first 3x3 convolution loses its stride and stays dense: it reads the same grid as before.
    # Those behind it see a grid twice as fine, so they are dilated.
    for module in stage.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            if module.stride == (2, 2):
                module.stride = (1, 1)
            else:
                module.dilation = (2, 2)
                module.padding = (2, 2)


def mobilenet_v2(
    weights: str | None = None,
    normalise: Normalise | None = None,
    last_stride: Literal[16, 32] = 16,
    frozen_levels: int = 0,
) -> tuple[MobileNetV2, LoadedWeights]:
    """Build MobileNetV2, filled from a torchvision state dict of any float type where a source is given."""
    network = MobileNetV2(last_stride, normalise, frozen_levels)
    # the levels' own norms are new: they are no part of what is loaded
    loaded = initialise(_Trunk(network.features), weights, ignore=("features.18.", "classifier."), licence=LICENCE)
    return network, loaded


class _Trunk(nn.Module):
    """torchvision's layers under torchvision's names."""

    def __init__(self, features: nn.Sequential) -> None:
        super().__init__()
        self.features = features
