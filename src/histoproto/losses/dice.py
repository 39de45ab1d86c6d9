r"""Soft Dice loss.

Milletari et al., "V-Net", 3DV 2016, with the soft-max shares :math:`p` and the known class :math:`y` of each pixel:

.. math::
    \frac{1}{|C|} \sum_{c \in C}
    \Bigl(1 - \frac{2 \sum_i p_{ic} [y_i = c] + s}{\sum_i p_{ic} + \sum_i [y_i = c] + s}\Bigr)

*Differences*: sums run over the whole batch, and the mean over the classes :math:`C` that its masks hold, so that a
class absent from a batch neither punishes nor rewards; no squares in the denominator.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import one_hot

from histoproto.losses.pixels import known_pixels

SMOOTH = 1.0
"""``s``: pixels that keep the ratio defined for tiny regions."""


def soft_dice(
    logits: Float[Tensor, "batch classes height width"], masks: Int64[Tensor, "batch height width"]
) -> Float[Tensor, ""]:
    """Return one minus the mean Dice of the classes in the batch, in [0, 1]; 0 where no pixel is known.

    Args:
        logits: class evidence.
        masks: class index per pixel; any larger value does not count.
    """
    classes = logits.shape[1]
    known = known_pixels(masks, classes)
    truth = one_hot(masks.where(known, 0), classes).movedim(-1, 1) * known[:, None]
    shares = logits.softmax(1) * known[:, None]
    overlap, sizes = (shares * truth).sum((0, 2, 3)), (shares + truth).sum((0, 2, 3))
    there = truth.sum((0, 2, 3)) > 0
    losses = 1 - (2 * overlap + SMOOTH) / (sizes + SMOOTH)
    return torch.where(there, losses, 0).sum() / there.sum().clamp(min=1)
