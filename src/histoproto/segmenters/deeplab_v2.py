"""DeepLab-v2: dilated features, parallel dilated classifiers, several scales of the image.

Chen et al., "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous Convolution, and Fully
Connected CRFs", TPAMI 2018: ASPP-L (section 3.2: four 3x3 classifiers with rates 6, 12, 18 and 24, summed), features
at stride 8, and the maximum over scales at each place (section 4.1). The papers of this package's methods train it on
their pseudo masks and state nothing else.

*Differences*: losses see the fused map alone, not each scale's own; ASPP classifies directly, as in the released
DeepLab on ResNet, without the paper's two further layers for VGG; any encoder that can be dilated to stride 8 may
stand below.
"""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

RATES = (6, 12, 18, 24)
SCALES = (1.0, 0.75, 0.5)


class AtrousPyramid(nn.Module):
    """ASPP: ``sum_r conv3x3(x; dilation r)``.

    Args:
        channels: of the features.
        outputs: number of maps.
    """

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Conv2d(channels, outputs, 3, padding=rate, dilation=rate) for rate in RATES)
        for name, parameter in self.branches.named_parameters():
            torch.nn.init.normal_(parameter, std=0.01) if name.endswith("weight") else torch.nn.init.zeros_(parameter)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch outputs height width"]:
        """Return the sum of the four classifiers."""
        return torch.stack([branch(x) for branch in self.branches]).sum(0)


class DeepLabV2(nn.Module):
    """The network, for images of any size.

    Args:
        encoder: images to a list of maps; the last, at stride 8, is used.
        channels: of that map.
        outputs: number of maps.
    """

    stride: ClassVar[int] = 8

    def __init__(self, encoder: nn.Module, channels: int, outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = AtrousPyramid(channels, outputs)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch outputs height width"]:
        """Return the largest response over the scales at each pixel."""
        size = images.shape[-2:]
        scaled = [
            images if scale == 1 else interpolate(images, scale_factor=scale, mode="bilinear", align_corners=False)
            for scale in SCALES
        ]
        maps = [
            interpolate(self.head(self.encoder(image)[-1]), size=size, mode="bilinear", align_corners=False)
            for image in scaled
        ]
        return torch.stack(maps).amax(0)
