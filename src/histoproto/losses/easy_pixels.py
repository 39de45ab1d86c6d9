r"""OEEM: pixels that the network already agrees with count most.

Li et al., "Online Easy Example Mining for Weakly-supervised Gland Segmentation from Histology Images", MICCAI 2022.
With the cross-entropy :math:`\ell_i = -\log p_{y_i}` of pixel :math:`i`, each image weighs its pixels by

.. math:: w_i = \frac{e^{-\ell_i}}{\frac{1}{N} \sum_j e^{-\ell_j}}

so that wrong pseudo labels, which fit badly, weigh little. Images whose mask holds a single class keep weight 1.

*Differences*: the soft-max over :math:`-\ell` divided by its mean is written as the ratio that it is; pixels whose
class nobody knows are in neither sum. Weights carry no gradient, as released.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import one_hot

from histoproto.losses.cross_entropy import surprise
from histoproto.losses.pixels import known_pixels, mean_over


def easy_pixel_cross_entropy(
    logits: Float[Tensor, "batch classes height width"], masks: Int64[Tensor, "batch height width"]
) -> Float[Tensor, ""]:
    """Return the weighted mean of the cross-entropy over the known pixels; 0 where there are none.

    Args:
        logits: class evidence.
        masks: class index per pixel; any larger value does not count.
    """
    classes = logits.shape[1]
    known = known_pixels(masks, classes)
    losses = surprise(logits, masks)
    with torch.no_grad():
        agreement = torch.where(known, (-losses).exp(), 0)
        mean = agreement.sum((1, 2), keepdim=True) / known.sum((1, 2), keepdim=True).clamp(min=1)
        held = (one_hot(masks.where(known, 0), classes) * known[..., None]).amax((1, 2)).sum(1)  # classes per mask
        weights = torch.where((held > 1)[:, None, None], agreement / mean.clamp(min=1e-12), 1.0)
    return mean_over(weights * losses, known)
