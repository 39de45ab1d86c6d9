"""The student's own backbone, slowly averaged, as a teacher: nothing to download."""

from jaxtyping import Float
from torch import Tensor

from histoproto.contracts import FeaturePyramid, MovingPyramid
from histoproto.frozen import Averaged


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
        self.average = Averaged(backbone, momentum)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Return the copy's levels, finest first."""
        levels: list[Tensor] = self.average(images)
        return levels

    def update(self, backbone: FeaturePyramid, step: int) -> None:
        """Follow the backbone after optimiser step ``step``."""
        self.average.follow(backbone, step)
