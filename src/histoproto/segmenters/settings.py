"""What a segmenter is made of and what it learns by. Plain values: importing this does not import torch."""

from dataclasses import dataclass
from typing import Literal

from histoproto.errors import ConfigError

PixelLoss = Literal["ce", "ce-dice", "oeem", "symmetric-ce", "generalised-ce"]


@dataclass(frozen=True)
class SegmenterSettings:
    """Settings of `histoproto.segmenters.segmenter.PseudoMaskSegmenter`.

    Raises:
        ConfigError: if a weight or a share is out of its range.
    """

    arch: str = "unet"
    """An architecture of segmentation-models-pytorch by its own name, or ``deeplab-v2``."""
    loss: PixelLoss = "ce"
    """What pulls pixels towards their pseudo mask."""
    labels_weight: float = 0.2
    """Weight of the image-level classification loss, from whose scores the gate is made."""
    absent_weight: float = 0.2
    """Weight of the loss by which classes absent from an image's label must not win in it."""
    relabel: float | None = None
    """A pixel takes the class of the moving average where that is at least this sure, 0..1; None keeps pseudo masks."""
    relabel_after: float = 0.3
    """Share of the training after which relabelling begins."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("labels_weight", "absent_weight"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}, but must not be negative")
        if self.relabel is not None and not 0 < self.relabel <= 1:
            raise ConfigError(f"relabel is {self.relabel}, but is a confidence above 0 and at most 1")
        if not 0 <= self.relabel_after <= 1:
            raise ConfigError(f"relabel_after is {self.relabel_after}, but is a share of the training: 0 to 1")
