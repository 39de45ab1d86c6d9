"""What is timed: methods with MiT-B1 as backbone and Swin-T as frozen encoder, random weights, phantom-like patches.

The sizes are those at which the released codes were measured: 224 px, batches of 10, 4 classes of 3 prototypes.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from histoproto.backbones.mit import MiT, mit
from histoproto.contracts import ImageEncoder, Method, Parts, Prototypes
from histoproto.encoders.cards import CARDS
from histoproto.encoders.medclip import image_encoder
from histoproto.presets.registry import METHODS


@dataclass(frozen=True)
class Work:
    """Sizes of one training step."""

    method: str
    preset: str
    batch: int = 10
    classes: int = 4
    prototypes: int = 3
    """Per class."""
    side_px: int = 224

    def model(self) -> Method:
        """Return the method in training mode, past its warm-up, with every pair passing the encoder."""
        torch.manual_seed(0)
        encoder: ImageEncoder = image_encoder(CARDS["medclip"], "none")[0]
        rows = self.classes * self.prototypes
        prototypes = Prototypes(torch.randn(rows, encoder.dim), (self.prototypes,) * self.classes)
        chosen = METHODS[self.method].presets[self.preset]
        changes: dict[str, Any] = {"prototypes_per_class": self.prototypes, "warmup_steps": 0, "max_pairs": None}
        settings = replace(chosen, model=replace(chosen.model, **changes))
        parts = Parts(mit("b1")[0], self.classes, encoder, None, prototypes)
        return METHODS[self.method].build(parts, settings).train()

    def images(self) -> Tensor:
        """Return smooth random colours, ``(batch, 3, side, side)`` in [0, 1]."""
        generator = torch.Generator().manual_seed(1)
        coarse = torch.rand(self.batch, 3, 14, 14, generator=generator)
        size = (self.side_px, self.side_px)
        return torch.nn.functional.interpolate(coarse, size=size, mode="bicubic", align_corners=False).clamp(0, 1)

    def labels(self) -> Tensor:
        """Return two or three classes for each image, in turn."""
        labels = torch.zeros(self.batch, self.classes)
        for image in range(self.batch):
            for place in range(min(2 + image % 2, self.classes)):
                labels[image, (image + place) % self.classes] = 1
        return labels


def plainly(method: Method) -> Method:
    """Return the method set as the released codes run it: attention maps are stored, frozen weights get gradients."""
    encoder, backbone = method.get_submodule("encoder"), method.get_submodule("backbone")
    assert isinstance(backbone, MiT)
    backbone.network.set_attn_implementation("eager")
    network = encoder.get_submodule("frozen").network  # type: ignore[union-attr]  # a Frozen or Pretrained
    network.model.set_attn_implementation("eager")  # type: ignore[union-attr,operator]  # MedCLIP's tower
    network.requires_grad_(True)  # type: ignore[union-attr,operator]
    return method
