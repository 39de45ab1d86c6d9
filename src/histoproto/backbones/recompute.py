"""Backbones that keep less for gradients: each block's inside is computed a second time when gradients pass.

Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016, as transformers and timm implement it.

*Differences* from training without it: BatchNorm's running averages move twice as fast, since a pass counts twice.
"""

from typing import Any

from torch import nn

from histoproto.errors import ConfigError


def recompute_blocks(backbone: nn.Module, name: str) -> None:
    """Let a backbone's blocks compute their inside again rather than keep it.

    Args:
        backbone: changed in place.
        name: for the error message.

    Raises:
        ConfigError: if its library has no such switch.
    """
    for module in backbone.modules():
        switch: Any = getattr(module, "activation_checkpointing_enable", None)  # transformers
        if switch is None:
            switch = getattr(module, "set_grad_checkpointing", None)  # timm
        if switch is not None:
            switch()
            return
    raise ConfigError(
        f"backbone.recompute does not work with {name}, but with mit-*, timm:* and vit:*; leave it out and lower "
        "training.batch"
    )
