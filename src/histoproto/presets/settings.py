"""All that a run is made of, apart from its data."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from histoproto.contracts import Method, MethodSettings, Parts
from histoproto.errors import ConfigError
from histoproto.inference.settings import InferenceSettings
from histoproto.training.settings import AugmentSettings, TrainSettings

Triple = tuple[float, float, float]

BCSS_BGR_MEAN: Triple = (0.66791496, 0.47791372, 0.70623304)
"""Mean of BCSS-WSSS in the released codes, in the blue-green-red order in which they read images."""
BCSS_BGR_STD: Triple = (0.1736589, 0.22564577, 0.19820057)


@dataclass(frozen=True)
class BackboneSettings:
    """Which backbone, from which weights, fed how."""

    name: str = "small-conv"
    """A name of ``backbones/registry.py``."""
    weights: str | None = None
    """``hf:org/name@revision``, a path, or None for random weights."""
    mean: Triple | None = None
    """Input mean, in ``order``; None for that of the backbone's published weights."""
    std: Triple | None = None
    """Input standard deviation, in ``order``; given together with ``mean`` or not at all."""
    order: Literal["rgb", "bgr"] = "rgb"
    """Channel order that the backbone sees."""
    zoom: float = 1.0
    """Images are enlarged by this factor before the backbone, in training and prediction alike."""
    frozen_levels: int = 0
    """How many of the finest levels keep their loaded weights (mobilenet-v2)."""
    frozen: bool = False
    """The whole backbone keeps its weights and stays in evaluation mode."""
    recompute: bool = False
    """Keep less for gradients and compute it a second time: a fraction of the memory for a third more time (mit-*,
    timm:*, vit:*)."""

    def __post_init__(self) -> None:
        """Refuse half a normalisation."""
        if (self.mean is None) != (self.std is None):
            raise ConfigError("backbone: give mean and std together, or neither for the backbone's own")


@dataclass(frozen=True)
class EncoderSettings:
    """The frozen encoder of the similarity loss."""

    name: str = "self"
    """A name of ``encoders/registry.py``."""
    weights: str | None = None
    """``hf:org/name@revision`` or a path; None for the encoder's own address, if it has one."""


@dataclass(frozen=True)
class PrototypeSource:
    """Where prototypes come from before training; with neither, the method draws its own."""

    bank: str | None = None
    """Folder made by ``histoproto bank``."""
    text_encoder: str | None = None
    """Encoder whose text tower reads the prompts."""
    text_weights: str | None = None
    """Its weights, as for ``EncoderSettings``."""
    prompts: str | None = None
    """Prompt file: sentences per class; None for the file shipped for the study's taxonomy."""


@dataclass(frozen=True)
class RunSettings:
    """Everything that a run is made of, apart from its data."""

    method: str
    preset: str
    model: MethodSettings
    """Settings of the method itself, of its own class."""
    seed: int = 0
    patch_px: int | None = None
    """Training patches are resized to this side; None leaves them as they are."""
    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    backbone: BackboneSettings = field(default_factory=BackboneSettings)
    teacher: BackboneSettings | None = None
    """Frozen pyramid to distil from."""
    prototypes: PrototypeSource = field(default_factory=PrototypeSource)
    training: TrainSettings = field(default_factory=TrainSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    inference: InferenceSettings = field(default_factory=InferenceSettings)


@dataclass(frozen=True)
class MethodEntry:
    """A method as the program knows it."""

    build: Callable[[Parts, RunSettings], Method]
    """Make the method of its parts; ``settings.model`` is of the method's own class."""
    presets: dict[str, RunSettings]
    """``corrected`` and, where they exist, ``paper`` and ``released``."""
