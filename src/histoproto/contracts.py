"""Every plug point. Abstract, with no behaviour to inherit.

Conventions: images are RGB float in [0, 1], shape ``(batch, 3, height, width)``, and every network
normalises its own input. Levels are listed finest first.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True)
class StepOutput:
    """What one training step returns."""

    loss: Float[Tensor, ""]
    """The total loss, with gradient."""
    terms: dict[str, Tensor]
    """Named summands before weighting, detached scalars, for the log."""


@dataclass(frozen=True)
class ClassMaps:
    """What a method sees in a batch of images, before any decision which classes are present."""

    maps: Float[Tensor, "batch classes height width"]
    """Class evidence per place, any range; the strongest allowed class wins."""
    score_maps: Float[Tensor, "batch classes _height _width"]
    """Logits per place whose mean over a training patch is that patch's class score."""

    @property
    def scores(self) -> Float[Tensor, "batch classes"]:
        """Image-level logits; their sigmoid is the probability that a class is present."""
        return self.score_maps.mean((-2, -1))


@dataclass(frozen=True)
class MethodSettings:
    """What a method's own settings start from: a frozen dataclass of plain values, one docstring per field."""

    prototypes_per_class: int | tuple[int, ...] = 1
    """K: one number for all classes, or one per class; 1 works."""
    warmup_steps: int = 0
    """Steps with the class loss alone."""


@dataclass(frozen=True)
class Prototypes:
    """Vectors that stand for sub-classes before training: from an image bank, or from text."""

    vectors: Float[Tensor, "prototypes dim"]
    """One row per prototype, in class order."""
    counts: tuple[int, ...]
    """Prototypes of each class, in class order."""


class TissueModel(nn.Module, ABC):
    """What looks at an image and says where each tissue is: all that prediction and evaluation need.

    Modules named ``encoder``, ``teacher`` and ``memory`` serve training alone: a trained run is loaded without them.
    """

    unit_maps: bool
    """Whether class maps lie in [0, 1], as the background rule *unlikely* needs."""
    training_step: Callable[..., StepOutput]
    """Loss of a batch; what it takes depends on the kind of model, see below."""

    @abstractmethod
    def class_maps(self, images: Float[Tensor, "batch 3 height width"]) -> ClassMaps:
        """Return class maps and image-level scores; no gradient is needed."""

    def after_step(self, step: int) -> None:
        """Update what is not trained by gradient (moving averages, memories) after an optimiser step."""

    def taught_by(self, average: "TissueModel") -> None:
        """Meet the moving average of this model that training keeps, where it keeps one."""


class Method(TissueModel):
    """A weakly supervised segmentation method: learns from image-level labels."""

    @abstractmethod
    def training_step(
        self, images: Float[Tensor, "batch 3 height width"], labels: Float[Tensor, "batch classes"], step: int
    ) -> StepOutput:
        """Return the loss of one batch. ``step`` counts optimiser steps from 0 (for warm-ups)."""

    counts: tuple[int, ...]
    """Prototypes of each class, in class order."""

    @abstractmethod
    def prototype_maps(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch prototypes _height _width"]:
        """Return where each prototype sees itself, in [-1, 1]; rows in class order, ``counts[c]`` per class."""


class Segmenter(TissueModel):
    """A network of the second stage: learns from pseudo masks."""

    @abstractmethod
    def training_step(
        self,
        images: Float[Tensor, "batch 3 height width"],
        labels: Float[Tensor, "batch classes"],
        masks: Int64[Tensor, "batch height width"],
        composed: Bool[Tensor, " batch"],
        step: int,
    ) -> StepOutput:
        """Return the loss of one batch.

        Args:
            images: RGB in [0, 1].
            labels: 1 where a class is present.
            masks: class index per pixel; ``classes`` where background, 255 where nobody knows.
            composed: whether an image, or a region pasted into it, was composed of patches whose class is known.
            step: counts optimiser steps from 0.
        """


class FeaturePyramid(nn.Module, ABC):
    """A trained feature extractor: image in, list of feature levels out, finest first."""

    channels: Sequence[int]
    """Feature channels of each level."""
    strides: Sequence[int]
    """Image pixels per feature cell of each level."""

    @abstractmethod
    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Return one map ``(batch, channels[i], height / strides[i], width / strides[i])`` per level."""


class MovingPyramid(FeaturePyramid):
    """A teacher without gradient steps of its own that follows the trained backbone."""

    @abstractmethod
    def update(self, backbone: FeaturePyramid, step: int) -> None:
        """Move a little towards the backbone after optimiser step ``step``."""


class ImageEncoder(nn.Module, ABC):
    """A frozen network from image to one vector. Its weights never train; gradients reach its input."""

    dim: int
    """Length of the vector."""

    @abstractmethod
    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """Return one feature vector per image, not normalised."""


class TextEncoder(nn.Module, ABC):
    """A frozen network from sentences to vectors in the space of an image encoder."""

    dim: int
    """Length of the vector."""

    @abstractmethod
    def forward(self, sentences: Sequence[str]) -> Float[Tensor, "sentences dim"]:
        """Return one vector per sentence, not normalised."""


class MovingEncoder(ImageEncoder):
    """An encoder without gradient steps of its own that follows the trained backbone."""

    @abstractmethod
    def update(self, backbone: FeaturePyramid, step: int) -> None:
        """Move a little towards the backbone after optimiser step ``step``."""


class Region(NamedTuple):
    """A rectangle in pixels of the finest pyramid page."""

    x_px: int
    y_px: int
    width_px: int
    height_px: int


class SlideReader(ABC):
    """An image of any size that can be read piece by piece."""

    path: Path
    width_px: int
    height_px: int
    mpp: float | None
    """Microns per pixel of the finest page; None where the file does not say."""

    @abstractmethod
    def read(self, region: Region) -> NDArray[np.uint8]:
        """Return RGB ``(height_px, width_px, 3)`` of a region inside the image.

        Raises:
            DataError: if the region cannot be decoded.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the file."""


@dataclass(frozen=True)
class Parts:
    """What a method may be built from; each takes what it needs."""

    backbone: FeaturePyramid
    classes: int
    """Number of tissue classes."""
    encoder: ImageEncoder | None = None
    """Frozen network of the similarity loss; None leaves that loss out."""
    teacher: FeaturePyramid | None = None
    """Frozen or moving pyramid to distil from; None leaves that loss out."""
    prototypes: Prototypes | None = None
    """Prototypes to start from; None lets the method draw its own."""


@dataclass(frozen=True)
class LoadedWeights:
    """Proof that pretrained tensors were really loaded, for ``run.json``."""

    source: str
    """``hf:org/name@revision``, a path, or ``none``."""
    sha256: str | None = None
    tensors: int = 0
    licence: str | None = None
    notes: list[str] = field(default_factory=list)
