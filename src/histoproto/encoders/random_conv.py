"""An encoder with random weights that knows nothing, for tests and as a control."""

from jaxtyping import Float
from torch import Tensor, nn

from histoproto.contracts import ImageEncoder
from histoproto.frozen import Frozen


class RandomEncoder(ImageEncoder):
    """Three random convolutions and a mean over positions.

    Args:
        dim: length of the vector.
    """

    def __init__(self, dim: int = 64) -> None:
        super().__init__()
        self.dim = dim
        self.network = Frozen(
            nn.Sequential(
                nn.Conv2d(3, 16, 3, 2, padding=1),
                nn.ReLU(),
                nn.Conv2d(16, 32, 3, 2, padding=1),
                nn.ReLU(),
                nn.Conv2d(32, dim, 3, 2, padding=1),
            )
        )

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """Return one vector per image, not normalised."""
        features: Tensor = self.network(images)
        return features.mean((-2, -1))
