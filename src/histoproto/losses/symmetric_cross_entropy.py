r"""Symmetric cross-entropy: the reverse direction bounds what a wrong label can cost.

Wang et al., "Symmetric Cross Entropy for Robust Learning with Noisy Labels", ICCV 2019, Eqs. 5 to 7. With
:math:`\log 0 := A` the reverse term of a one-hot label is :math:`-A (1 - p_y)`:

.. math:: \alpha\,(-\log p_y) + \beta\,(-A)(1 - p_y)

*Differences*: none; the default weights are those of the paper for CIFAR-10.
"""

from jaxtyping import Float, Int64
from torch import Tensor

from histoproto.losses.cross_entropy import surprise
from histoproto.losses.pixels import known_pixels, mean_over

LOG_ZERO = -4.0
"""``A``."""


def symmetric_cross_entropy(
    logits: Float[Tensor, "batch classes height width"],
    masks: Int64[Tensor, "batch height width"],
    forward_weight: float = 0.1,
    reverse_weight: float = 1.0,
) -> Float[Tensor, ""]:
    """Return the weighted sum of both directions, averaged over the known pixels; 0 where there are none.

    Args:
        logits: class evidence.
        masks: class index per pixel; any larger value does not count.
        forward_weight: ``alpha``.
        reverse_weight: ``beta``.
    """
    losses = surprise(logits, masks)
    both = forward_weight * losses - reverse_weight * LOG_ZERO * (1 - (-losses).exp())
    return mean_over(both, known_pixels(masks, logits.shape[1]))
