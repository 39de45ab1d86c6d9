"""Frozen is a type, not a moment."""

from typing import Any

from torch import nn


class Frozen(nn.Module):
    """A network whose weights never train and which stays in evaluation mode whatever ``train()`` says.

    It is no ``no_grad``: gradients pass through it to its input.

    Args:
        network: the network to freeze in place.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> "Frozen":
        """Stay in evaluation mode; ``mode`` is there for callers of ``nn.Module.train``."""
        return super().train(False)

    def forward(self, *inputs: Any) -> Any:
        """Return what the network returns."""
        return self.network(*inputs)
