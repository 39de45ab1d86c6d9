"""Input normalisation: every network normalises, and if need be enlarges, its own input."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalise(nn.Module):
    """Subtract a mean and divide by a standard deviation, per channel.

    Args:
        mean: three means of images in [0, 1], in the channel order given by ``order``.
        std: three standard deviations, in the same order.
        order: channel order that the network was trained with; images come in as RGB and are
            turned around first for ``bgr`` (the released code of all three papers reads BGR).
        zoom: images are enlarged by this factor first, in training and prediction alike, so that small cells fill the
            receptive fields of a network trained on large objects; a level's cells shrink by the same factor.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        order: Literal["rgb", "bgr"] = "rgb",
        zoom: float = 1.0,
    ) -> None:
        super().__init__()
        self.order = order
        self.zoom = zoom
        # Settings, not weights: they come back from the run's configuration, so no checkpoint holds them.
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 _height _width"]:
        """Return enlarged, normalised images, in the network's channel order."""
        if self.zoom != 1:
            images = interpolate(images, scale_factor=self.zoom, mode="bilinear", align_corners=False)
        ordered = images.flip(1) if self.order == "bgr" else images
        return (ordered - self.mean) / self.std
