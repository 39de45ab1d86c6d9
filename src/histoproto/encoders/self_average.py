"""The method's own backbone, slowly averaged, as frozen encoder: nothing to download."""

from jaxtyping import Float
from torch import Tensor

from histoproto.contracts import FeaturePyramid, MovingEncoder
from histoproto.frozen import Averaged


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
        self.average = Averaged(backbone, momentum)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """Return one vector per image, not normalised."""
        levels: list[Tensor] = self.average(images)
        return levels[-1].mean((-2, -1))

    def update(self, backbone: FeaturePyramid, step: int) -> None:
        """Follow the backbone after optimiser step ``step``."""
        self.average.follow(backbone, step)
