"""Input normalisation: every network normalises its own input."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalise(nn.Module):
    """Subtract a mean and divide by a standard deviation, per channel.

    Args:
        mean: three means of images in [0, 1], in the channel order given by ``order``.
        std: three standard deviations, in the same order.
        order: channel order that the network was trained with; images come in as RGB and are
            turned around first for ``bgr`` (the released code of all three papers reads BGR).
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        order: Literal["rgb", "bgr"] = "rgb",
    ) -> None:
        super().__init__()
        self.order = order
        # Settings, not weights: they come back from the run's configuration, so no checkpoint holds them.
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
        """Return normalised images, in the network's channel order."""
        ordered = images.flip(1) if self.order == "bgr" else images
        return (ordered - self.mean) / self.std
