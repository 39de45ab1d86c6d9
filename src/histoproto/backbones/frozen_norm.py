"""BatchNorm whose running statistics do not move."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def hold_statistics(network: nn.Module) -> None:
    """Put every BatchNorm of a network into evaluation mode; its scale and shift still train.

    A pyramid with frozen statistics calls this at the end of its own ``train``, so that no parent's
    ``train()`` can wake them.
    """
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
