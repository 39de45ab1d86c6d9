"""Which pixels are white background, by a stated rule."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

LUMINANCE = torch.tensor([0.299, 0.587, 0.114])
"""ITU-R BT.601 weights of red, green and blue."""


def white_background(
    images: Float[Tensor, "batch 3 height width"], above: float = 200 / 255, window_px: int = 9
) -> Bool[Tensor, "batch height width"]:
    """Return pixels whose surroundings are white: mean grey value in a window above 200 of 255.

    The threshold is that of MLPS (MedIA 2022) for LUAD-HistoSeg; the window stands for its removal of small
    objects, so that a gap between two fibres is no background.

    Args:
        images: RGB in [0, 1].
        above: grey value, 0..1.
        window_px: odd side of the square window.
    """
    grey = torch.einsum("bchw,c->bhw", images, LUMINANCE.to(images))
    reach = window_px // 2
    rows = avg_pool2d(grey[:, None], (window_px, 1), stride=1, padding=(reach, 0), count_include_pad=False)
    mean = avg_pool2d(rows, (1, window_px), stride=1, padding=(0, reach), count_include_pad=False)
    return mean[:, 0] > above


def unlikely_background(
    scores: Float[Tensor, "batch classes height width"],
) -> Float[Tensor, "batch height width"]:
    """Return ``(1 - max score) ** 10``, the background score of the released code; scores in [0, 1]."""
    return (1 - scores.amax(1)).clamp(min=0) ** 10
