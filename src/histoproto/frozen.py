"""Frozen is a type, not a moment."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class Frozen(nn.Module):
    """A network whose weights never train and which stays in evaluation mode whatever ``train()`` says.

    It is no ``no_grad``: gradients pass through it to its input. Checkpoints hold its weights, since nothing else
    does: it was drawn at random or follows the training.

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


class Pretrained(nn.Module):
    """A frozen network that its source can give back: in no checkpoint and unknown to optimiser and DDP.

    It moves between devices and changes its float type with the module that holds it, and stays in evaluation mode.

    Args:
        network: the network to freeze in place.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        # in a tuple, so that torch does not register it
        self._outside = (network.requires_grad_(False).eval(),)

    @property
    def network(self) -> nn.Module:
        """The frozen network."""
        return self._outside[0]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Pretrained":
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch has no types here
        self.network._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch has no types here
        return self

    def forward(self, *inputs: Any) -> Any:
        """Return what the network returns."""
        return self.network(*inputs)


def freeze(network: nn.Module, *, pretrained: bool) -> Frozen | Pretrained:
    """Return a frozen network; with weights that were loaded from a source it stays out of checkpoints."""
    return Pretrained(network) if pretrained else Frozen(network)
