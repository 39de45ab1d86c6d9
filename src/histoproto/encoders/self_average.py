"""The method's own backbone, slowly averaged, as frozen encoder: nothing to download.

Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017, with the warm-up of their code::

    m = min(momentum, (step + 1) / (step + 10))
    average = m * average + (1 - m) * backbone
"""

import copy

import torch
from jaxtyping import Float
from torch import Tensor

from histoproto.contracts import FeaturePyramid, MovingEncoder
from histoproto.frozen import Frozen


class SelfEncoder(MovingEncoder):
    """Mean over positions of the last level of an averaged copy of the backbone.

    The copy is saved in checkpoints and has nothing for the optimiser.

    Args:
        backbone: the trained backbone; it is copied, not held.
        momentum: share of the old average that stays at each step once warmed up, in [0, 1).
    """

    def __init__(self, backbone: FeaturePyramid, momentum: float = 0.99) -> None:
        super().__init__()
        self.dim = backbone.channels[-1]
        self.momentum = momentum
        self.average = Frozen(copy.deepcopy(backbone))

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """Return one vector per image, not normalised."""
        levels: list[Tensor] = self.average(images)
        return levels[-1].mean((-2, -1))

    @torch.no_grad()
    def update(self, backbone: FeaturePyramid, step: int) -> None:
        """Average the weights and copy the buffers (running statistics) after optimiser step ``step``."""
        momentum = min(self.momentum, (step + 1) / (step + 10))
        for mine, theirs in zip(self.average.parameters(), backbone.parameters(), strict=True):
            mine.lerp_(theirs, 1 - momentum)
        for held, given in zip(self.average.buffers(), backbone.buffers(), strict=True):
            held.copy_(given)
