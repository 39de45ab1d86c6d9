"""How class maps of an image are made and turned into a mask."""

from dataclasses import dataclass
from typing import Literal

Views = Literal["none", "d4", "released"]
Background = Literal["white", "unlikely"]


@dataclass(frozen=True)
class InferenceSettings:
    """Settings of ``histoproto.inference``; none of them looks at a mask."""

    views: Views = "d4"
    """Averaged views of each image: as it is, its eight flips and quarter turns, or the released six
    (with and without horizontal flip, contrast 0.9, 1.0 and 1.1 about the data set's mean)."""
    background: Background = "white"
    """Which pixels are background where background counts: white surroundings, or the released rule
    ``(1 - max) ** 10`` above every class."""
    tile_px: int = 256
    """Side of the pieces that images larger than this are cut into."""
    overlap_px: int = 64
    """Overlap of neighbouring pieces."""
    batch: int = 8
    """Pieces computed at once."""
