"""From prototype space to the channels of one feature level."""

from jaxtyping import Float
from torch import Tensor, nn


class PrototypeProjection(nn.Module):
    """Two-layer perceptron ``Linear(dim -> dim // 2), ReLU, Linear(dim // 2 -> channels)`` (PBIP, CVPR 2025, 3.2).

    Weights start as a normal of standard deviation 0.02 cut at two deviations, biases at zero.
    """

    def __init__(self, dim: int, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, dim // 2)
        self.fc2 = nn.Linear(dim // 2, channels)
        for layer in (self.fc1, self.fc2):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, prototypes: Float[Tensor, "prototypes dim"]) -> Float[Tensor, "prototypes channels"]:
        """Return one projected prototype per row."""
        projected: Tensor = self.fc2(self.fc1(prototypes).relu())  # (prototypes, channels)
        return projected
