"""A network over many images, with the memory of a few."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from histoproto.errors import ConfigError


def require_group(at_once: int) -> None:
    """Check the setting ``crops_at_once`` before training begins.

    Raises:
        ConfigError: if a group would have no image.
    """
    if at_once < 1:
        raise ConfigError(f"model.crops_at_once is {at_once}, but must be at least 1")


def encode_bounded(
    network: Callable[[Tensor], Tensor], images: Float[Tensor, "images 3 height width"], at_once: int
) -> Float[Tensor, "images dim"]:
    """Return what a network makes of images, keeping what gradients need of ``at_once`` images alone.

    The images pass in groups. The last group keeps its intermediate values, and passes gradients first; those before
    compute theirs again when their turn comes (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016).

    Args:
        network: one vector per image that does not depend on the images beside it, as of any frozen network.
        images: as many as there are.
        at_once: images per group, at least one; fewer take less memory and more time.
    """
    if len(images) <= at_once:
        return network(images)
    *others, last = torch.split(images, at_once)
    again = [checkpoint(network, group, use_reentrant=False, preserve_rng_state=False) for group in others]
    return torch.cat([*again, network(last)])
