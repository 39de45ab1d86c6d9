r"""Generalised cross-entropy: between cross-entropy (q towards 0) and absolute error (q = 1).

Zhang and Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels", NeurIPS 2018,
Eq. 6:

.. math:: \frac{1 - p_y^q}{q}

*Differences*: without the truncation of their Eq. 7.
"""

from jaxtyping import Float, Int64
from torch import Tensor

from histoproto.losses.cross_entropy import surprise
from histoproto.losses.pixels import known_pixels, mean_over


def generalised_cross_entropy(
    logits: Float[Tensor, "batch classes height width"], masks: Int64[Tensor, "batch height width"], q: float = 0.7
) -> Float[Tensor, ""]:
    """Return the mean over the known pixels, in [0, 1 / q]; 0 where there are none.

    Args:
        logits: class evidence.
        masks: class index per pixel; any larger value does not count.
        q: in (0, 1]; the paper's 0.7.
    """
    return mean_over((1 - (-q * surprise(logits, masks)).exp()) / q, known_pixels(masks, logits.shape[1]))
