r"""Classes that the image-level label excludes must not win anywhere in the image.

The likelihood of a set of candidate labels (Jin and Ghahramani, "Learning with Multiple Labels", NIPS 2002): with the
classes :math:`P` that the label of an image names,

.. math:: -\log \sum_{c \in P} p_{ic}

at every pixel :math:`i`, whether its pseudo mask is known or not.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def absent_classes(
    logits: Float[Tensor, "batch classes height width"],
    present: Bool[Tensor, "batch classes"],
    tissue: Bool[Tensor, "batch height width"],
) -> Float[Tensor, ""]:
    """Return the mean over the tissue of all images that name a class; 0 where there is none.

    Args:
        logits: class evidence.
        present: which classes the image-level label names.
        tissue: pixels that are no background.
    """
    inside = logits.masked_fill(~present[:, :, None, None], torch.finfo(logits.dtype).min).logsumexp(1)
    losses = logits.logsumexp(1) - inside
    counted = tissue & present.any(1)[:, None, None]
    return torch.where(counted, losses, 0).sum() / counted.sum().clamp(min=1)
