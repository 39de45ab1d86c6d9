r"""Superpixel voting: pixels of one superpixel share one answer.

Superpixels are SLIC's (Achanta et al., *SLIC Superpixels Compared to State-of-the-Art Superpixel Methods*, TPAMI 2012)
in Lab colours, cut in several sizes :math:`s = 1..S`. With :math:`P_s Q` the shares averaged within each superpixel,

.. math::
    Q \leftarrow \Bigl(\tfrac1S \sum_s P_s\Bigr)^{t} Q.

One size draws the mask in blocks, many sizes let the blocks' edges cancel, and repeating passes answers on to
neighbouring superpixels.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from histoproto.cams.voting import vote


@dataclass(frozen=True)
class SuperpixelSettings:
    """Which superpixels vote, and how often."""

    side_px: int = 10
    """Side of a superpixel of the middle size, if it were a square."""
    sizes: int = 3
    """``S``: each size has twice the area of the one before."""
    compactness: float = 20.0
    """How much nearness counts against likeness of colour; large numbers give squares."""
    rounds: int = 3
    """``t``: how often they vote."""

    @property
    def sides_px(self) -> list[int]:
        """Sides of all sizes: 7, 10 and 14 px by default."""
        middle = (self.sizes - 1) / 2
        return [max(1, round(self.side_px * 2 ** ((size - middle) / 2))) for size in range(self.sizes)]


class SuperpixelVoting:
    """Voting in the superpixels of one photograph, for any class shares on it.

    Args:
        rgb: ``(height, width, 3)``, 0..255.
        settings: which superpixels.
    """

    def __init__(self, rgb: NDArray[np.uint8], settings: SuperpixelSettings) -> None:
        self._rounds = settings.rounds
        self._sizes = [superpixels(rgb, side_px, settings.compactness) for side_px in settings.sides_px]

    def __call__(self, shares: Float[Tensor, "classes height width"]) -> Float[Tensor, "classes height width"]:
        """Return the shares after all rounds; those that sum to 1 at each pixel still do."""
        for _ in range(self._rounds):
            votes = torch.zeros_like(shares)
            for regions in self._sizes:
                votes += vote(shares, regions)
            shares = votes / len(self._sizes)
        return shares


def superpixels(rgb: NDArray[np.uint8], side_px: int, compactness: float) -> Int64[Tensor, "height width"]:
    """Return the number of each pixel's superpixel, from 0 on.

    Args:
        rgb: ``(height, width, 3)``, 0..255.
        side_px: side of a superpixel of mean size.
        compactness: see the settings.
    """
    from skimage.segmentation import slic

    height, width, _ = rgb.shape
    wanted = max(1, round(height * width / side_px**2))
    found = slic(rgb, n_segments=wanted, compactness=compactness, start_label=0)
    return torch.from_numpy(found.astype(np.int64))
