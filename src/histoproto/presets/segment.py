"""All that a run of the second stage is made of, apart from its data and its pseudo masks."""

from dataclasses import dataclass, field
from typing import Literal

from histoproto.errors import ConfigError
from histoproto.inference.settings import InferenceSettings, Refine
from histoproto.presets.settings import BackboneSettings
from histoproto.segmenters.settings import SegmenterSettings
from histoproto.training.settings import AugmentSettings, MosaicSettings, TrainSettings

SEGMENTER = "segmenter"
"""What stands in place of a method in the run's ``config.yaml``."""
RUN = "run"
"""Name of the source's own backbone, until the run begins."""
TRAINED = "trained"
"""Weights of that backbone as the source has trained them."""
LIBRARY = "smp:"
"""Prefix of encoders of segmentation-models-pytorch among the backbones, as in ``smp:resnet50``."""


SCHEDULE = TrainSettings(epochs=12, batch=16, lr=1e-3, warmup_steps=40, average=0.98, choose_by="last")
"""The last epoch counts, since no mask, and no loss over pseudo masks, may choose one."""


@dataclass(frozen=True)
class SegmentSettings:
    """Settings of ``histoproto segment``.

    Raises:
        ConfigError: if a number is out of its range, or relabelling has no teacher.
    """

    source: str
    """Run whose class maps the first pseudo masks are made of."""
    rounds: int = 1
    """Trainings in a row, each on the pseudo masks that the one before it makes; that one lies in ``previous/``."""
    refine: Refine = "none"
    """What pseudo masks are refined by, in the first round."""
    refine_weights: str | None = None
    """Weights of that refiner, where it needs any."""
    keep: float = 1.0
    """Share of each class's pixels that are learned from, the most confident ones; the others count as unknown."""
    seed: int = 0
    patch_px: int | None = None
    """Training patches are resized to this side; None leaves them as they are."""
    model: SegmenterSettings = field(default_factory=SegmenterSettings)
    backbone: BackboneSettings = field(default_factory=lambda: BackboneSettings(RUN))
    """A name of ``backbones/registry.py``, or ``smp:`` and the library's own; ``run`` until the run begins: the
    backbone of ``source``, from the weights that it started from, or ``trained``."""
    mosaics: MosaicSettings = field(default_factory=MosaicSettings)
    training: TrainSettings = field(default_factory=lambda: SCHEDULE)
    augment: AugmentSettings = field(
        default_factory=lambda: AugmentSettings(flips=True, stain_sigma=0.1, stain_bias=0.03)
    )
    inference: InferenceSettings = field(default_factory=InferenceSettings)
    method: Literal["segmenter"] = "segmenter"

    def __post_init__(self) -> None:
        """Check ranges and contradictions."""
        if not 0 < self.keep <= 1:
            raise ConfigError(f"keep is {self.keep}, but is a share of pixels: above 0 and at most 1")
        if self.rounds < 1:
            raise ConfigError(f"rounds is {self.rounds}, but must be at least 1")
        if self.model.relabel is not None and not self.training.average:
            raise ConfigError("relabel needs the moving average as teacher; set training.average, for example to 0.98")
