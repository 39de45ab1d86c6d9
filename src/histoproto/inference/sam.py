"""Voting in the masks of a Segment Anything network: outlines of whatever it finds become borders.

The network is asked at a grid of points, as its authors do to segment everything (Kirillov et al., "Segment Anything",
ICCV 2023, section 5); of each point's three masks those are kept that it expects to be good and whose outline hardly
moves with the threshold. Shares are averaged within each, the largest first, so that smaller masks lie on top; pixels
in no mask keep their shares.

*Differences* from the authors' generator: no crops, and no removal of near duplicates, which do no harm here; masks of
more than a stated share of the photograph are left out, since one answer for all of it is no border.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from histoproto.cams.voting import vote_in_masks

if TYPE_CHECKING:
    from histoproto.contracts import LoadedWeights
    from histoproto.encoders.sam import Proposals, SegmentAnything


@dataclass(frozen=True)
class SamSettings:
    """Which network, and which of its masks vote."""

    weights: str | None = None
    """Folder or ``hf:organisation/name@revision`` of SAM or SAM 2 in transformers' format."""
    points_per_side: int = 16
    """Points of the grid along each side."""
    quality: float = 0.88
    """Least IoU that the network expects of a mask, 0..1."""
    stability: float = 0.95
    """Least IoU of the mask cut at logit 1 and the same mask cut at -1, 0..1."""
    largest: float = 0.5
    """Greatest share of the photograph that a mask may cover, 0..1."""


class SamVoting:
    """Voting in the masks of one photograph, for any class shares on it.

    Args:
        image: RGB in [0, 1].
        settings: which network and which masks.

    Raises:
        WeightsError: if the weights are missing or do not fit.
    """

    def __init__(self, image: Float[Tensor, "3 height width"], settings: SamSettings) -> None:
        assert settings.weights is not None  # whoever asks has checked it
        self._network, _ = load_once(settings.weights)
        self._size = height, width = image.shape[-2], image.shape[-1]
        kept = []
        for proposals in self._network.propose(image, grid_points(settings.points_per_side)):
            for logits in good_masks(proposals, settings):
                area = int(self._network.full_size(logits, height, width).sum())
                if 0 < area <= settings.largest * height * width:
                    kept.append((area, logits))
        self._logits = [logits for _, logits in sorted(kept, key=lambda pair: -pair[0])]

    def __call__(self, shares: Float[Tensor, "classes height width"]) -> Float[Tensor, "classes height width"]:
        """Return the shares after voting; those that sum to 1 at each pixel still do."""
        return vote_in_masks(shares, self.masks())

    def masks(self) -> Iterator[Bool[Tensor, "_height _width"]]:
        """Yield the masks that vote, the largest first."""
        for logits in self._logits:
            yield self._network.full_size(logits, *self._size)


def grid_points(per_side: int) -> Float[Tensor, "points 2"]:
    """Return the centres of a grid's cells, x and y as fractions of width and height."""
    centres = (torch.arange(per_side) + 0.5) / per_side
    return torch.cartesian_prod(centres, centres).flip(1)


def good_masks(proposals: "Proposals", settings: SamSettings) -> Float[Tensor, "masks rows columns"]:
    """Return the logits of the masks that are good and stable enough."""
    logits, quality = proposals
    surely, perhaps = (logits > 1).sum((-2, -1)), (logits > -1).sum((-2, -1))
    stability = surely / perhaps.clamp(min=1)
    return logits[(quality >= settings.quality) & (stability >= settings.stability)]


@lru_cache(maxsize=1)
def load_once(weights: str) -> "tuple[SegmentAnything, LoadedWeights]":
    """Return the network of these weights and what they are, read when first asked for: each photograph asks again.

    Raises:
        WeightsError: if the weights are missing or do not fit.
    """
    from histoproto.encoders.sam import segment_anything

    return segment_anything(weights)
