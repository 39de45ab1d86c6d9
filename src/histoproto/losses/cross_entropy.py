"""Cross-entropy per pixel."""

from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy

from histoproto.losses.pixels import known_pixels, mean_over


def pixel_cross_entropy(
    logits: Float[Tensor, "batch classes height width"], masks: Int64[Tensor, "batch height width"]
) -> Float[Tensor, ""]:
    """Return the mean of ``-log p_y`` over the pixels whose class ``y`` is known; 0 where none is.

    Args:
        logits: class evidence; ``p`` is its soft-max.
        masks: class index per pixel; any larger value does not count.
    """
    return mean_over(surprise(logits, masks), known_pixels(masks, logits.shape[1]))


def surprise(
    logits: Float[Tensor, "batch classes height width"], masks: Int64[Tensor, "batch height width"]
) -> Float[Tensor, "batch height width"]:
    """Return ``-log p_y`` per pixel, 0 where the class is not known."""
    known = known_pixels(masks, logits.shape[1])
    return cross_entropy(logits, masks.where(known, 0), reduction="none").where(known, 0)
