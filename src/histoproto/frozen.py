"""Frozen is a type, not a moment."""

import copy
from collections.abc import Callable
from typing import Any

import torch
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


class Averaged(Frozen):
    """A slowly averaged copy of a network that trains; checkpoints hold it, and the optimiser has nothing to do.

    Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017, with the warm-up of their code::

        m = min(momentum, (step + 1) / (step + 10))
        average = m * average + (1 - m) * network

    Args:
        network: what trains; it is copied, not held.
        momentum: share of the old average that stays at each step once warmed up, in [0, 1).
        average_buffers: average running statistics like weights, rather than copy them.
    """

    def __init__(self, network: nn.Module, momentum: float, *, average_buffers: bool = False) -> None:
        super().__init__(copy.deepcopy(network))
        self.momentum = momentum
        self.average_buffers = average_buffers

    @torch.no_grad()
    def follow(self, network: nn.Module, step: int) -> None:
        """Move towards the network after optimiser step ``step``."""
        momentum = min(self.momentum, (step + 1) / (step + 10))
        for mine, theirs in zip(self.parameters(), network.parameters(), strict=True):
            mine.lerp_(theirs, 1 - momentum)
        for held, given in zip(self.buffers(), network.buffers(), strict=True):
            if self.average_buffers and held.is_floating_point():
                held.lerp_(given, 1 - momentum)
            else:
                held.copy_(given)


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


def pretrained_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of pretrained frozen networks inside, which no ``state_dict`` holds.

    They have the names under which a ``Frozen`` at the same place holds its own.

    Args:
        network: what to look into.
    """
    return {
        f"{place}.network.{name}": tensor
        for place, module in network.named_modules()
        if isinstance(module, Pretrained)
        for name, tensor in module.network.state_dict().items()
    }
