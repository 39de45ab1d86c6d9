"""The student's own backbone, slowly averaged, as a teacher: nothing to download.

Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017, with the warm-up of their code::

    m = min(momentum, (step + 1) / (step + 10))
    average = m * average + (1 - m) * backbone
"""

import copy

import torch
from jaxtyping import Float
from torch import Tensor

from histoproto.contracts import FeaturePyramid, MovingPyramid
from histoproto.frozen import Frozen


class MovingAverage(MovingPyramid):
    """Levels of an averaged copy of a backbone, which is saved in checkpoints and has nothing for the optimiser.

    Args:
        backbone: the trained backbone; it is copied, not held.
        momentum: share of the old average that stays at each step once warmed up, in [0, 1).
    """

    def __init__(self, backbone: FeaturePyramid, momentum: float = 0.99) -> None:
        super().__init__()
        self.channels = tuple(backbone.channels)
        self.strides = tuple(backbone.strides)
        self.momentum = momentum
        self.average = Frozen(copy.deepcopy(backbone))

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Return the copy's levels, finest first."""
        levels: list[Tensor] = self.average(images)
        return levels

    @torch.no_grad()
    def update(self, backbone: FeaturePyramid, step: int) -> None:
        """Average the weights and copy the buffers (running statistics) after optimiser step ``step``."""
        momentum = min(self.momentum, (step + 1) / (step + 10))
        for mine, theirs in zip(self.average.parameters(), backbone.parameters(), strict=True):
            mine.lerp_(theirs, 1 - momentum)
        for held, given in zip(self.average.buffers(), backbone.buffers(), strict=True):
            held.copy_(given)
