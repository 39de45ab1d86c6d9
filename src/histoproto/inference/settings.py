"""How class maps of an image are made and turned into a mask."""

from dataclasses import dataclass, field
from typing import Literal

from histoproto.cams.dense_crf import DenseCRFSettings
from histoproto.cams.random_walk import RandomWalkSettings
from histoproto.errors import ConfigError
from histoproto.inference.sam import SamSettings
from histoproto.inference.superpixels import SuperpixelSettings
from histoproto.training.settings import Precision

Views = Literal["none", "d4", "released"]
Background = Literal["white", "unlikely"]
Context = Literal["whole", "patch"]
Refine = Literal["none", "crf", "affinity", "superpixels", "sam"]


@dataclass(frozen=True)
class InferenceSettings:
    """Settings of ``histoproto.inference``; none of them looks at a mask."""

    views: Views = "d4"
    """Averaged views of each image: as it is, its eight flips and quarter turns, or the released six
    (with and without horizontal flip, contrast 0.9, 1.0 and 1.1 about the data set's mean)."""
    background: Background = "white"
    """Which pixels are background where background counts: white surroundings, or the released rule
    ``(1 - max) ** 10`` above every class."""
    context: Context = "whole"
    """How much of an image the network sees at once: as much as ``tile_px`` holds, or no more than in training,
    windows of a training patch's size whose maps are averaged (``window_overlap``). The latter takes four
    times as long; it pays where the network's receptive field is larger than a training patch, since in training it
    then always saw the patch's border."""
    window_overlap: float = 0.5
    """Under ``context: patch``, by which share of their side neighbouring windows overlap, at least 0 and below 1: a
    pixel is seen in 4 windows at 0.5 and in 16 at 0.75, which takes four times as long."""
    refine: Refine = "none"
    """What lets the mask follow the photograph's edges: nothing, a dense CRF, a random walk between places whose
    features and colours are alike, voting in superpixels, or voting in the masks of a Segment Anything network."""
    crf: DenseCRFSettings = field(default_factory=DenseCRFSettings)
    """Strengths and widths of the CRF."""
    affinity: RandomWalkSettings = field(default_factory=RandomWalkSettings)
    """How far and how freely the walk goes."""
    superpixels: SuperpixelSettings = field(default_factory=SuperpixelSettings)
    """Which superpixels vote."""
    sam: SamSettings = field(default_factory=SamSettings)
    """Which network's masks vote."""
    tile_px: int = 1024
    """Side of the tiles that larger images are cut into."""
    overlap_px: int = 320
    """Overlap of neighbouring tiles; a quarter of it at each edge is thrown away, which covers the receptive field
    of the small backbone (151 px) so that tiles give what the whole image gives."""
    batch: int = 1
    """Tiles computed at once."""
    precision: Precision = "fp32"
    """Arithmetic of the network: single precision, or bfloat16 where its layers allow, which recent GPUs and some CPUs
    do faster; views are averaged and masks decided in single precision."""

    def __post_init__(self) -> None:
        """Check the range.

        Raises:
            ConfigError: if windows would not move, or leave gaps.
        """
        if not 0 <= self.window_overlap < 1:
            raise ConfigError(
                f"inference.window_overlap is {self.window_overlap}, but is a share of a window's side: at least 0 and "
                "below 1"
            )
