"""The settings of papers and released code as typed constants.

``paper`` is what the paper says, ``released`` what the authors' code does, defects included, and
``corrected`` (the default) repairs every known defect. ``docs/presets.md`` shows them side by side.
"""

from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal

from histoproto.backbones.normalise import IMAGENET_MEAN, IMAGENET_STD
from histoproto.errors import ConfigError
from histoproto.inference.settings import InferenceSettings
from histoproto.methods.lpd import LPDSettings
from histoproto.training.settings import AugmentSettings, TrainSettings

Triple = tuple[float, float, float]

BCSS_BGR_MEAN: Triple = (0.66791496, 0.47791372, 0.70623304)
"""Mean of BCSS-WSSS in the released code, in the blue-green-red order in which it reads images."""
BCSS_BGR_STD: Triple = (0.1736589, 0.22564577, 0.19820057)


@dataclass(frozen=True)
class BackboneSettings:
    """Which backbone, from which weights, fed how."""

    name: str = "small-conv"
    """A name of ``backbones/registry.py``."""
    weights: str | None = None
    """``hf:org/name@revision``, a path, or None for random weights."""
    mean: Triple = IMAGENET_MEAN
    """Input mean, in ``order``."""
    std: Triple = IMAGENET_STD
    """Input standard deviation, in ``order``."""
    order: Literal["rgb", "bgr"] = "rgb"
    """Channel order that the backbone sees."""
    zoom: float = 1.0
    """Images are enlarged by this factor before the backbone, in training and prediction alike."""
    frozen_levels: int = 0
    """How many of the finest levels keep their loaded weights (mobilenet-v2)."""


@dataclass(frozen=True)
class RunSettings:
    """Everything that a run is made of, apart from its data."""

    method: str
    preset: str
    seed: int = 0
    patch_px: int | None = None
    """Training patches are resized to this side; None leaves them as they are."""
    encoder: str = "self"
    """A name of ``encoders/registry.py``."""
    backbone: BackboneSettings = field(default_factory=BackboneSettings)
    model: LPDSettings = field(default_factory=LPDSettings)
    training: TrainSettings = field(default_factory=TrainSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    inference: InferenceSettings = field(default_factory=InferenceSettings)


LPD_RELEASED = RunSettings(
    method="lpd",
    preset="released",
    encoder="self",
    backbone=BackboneSettings("mit-b1", mean=BCSS_BGR_MEAN, std=BCSS_BGR_STD, order="bgr"),
    model=LPDSettings(prototypes_per_class=3, warmup_steps=3000, form="released"),
    training=TrainSettings(
        epochs=8,
        batch=10,
        lr=5e-5,
        weight_decay=1e-3,
        decay_everything=True,
        schedule_decay="total",
        choose_by="validation-masks",
    ),
    augment=AugmentSettings(flips=True, stain_sigma=0.0, stain_bias=0.0),
    inference=InferenceSettings(views="released", background="unlikely"),
)

LPD_PAPER = RunSettings(
    method="lpd",
    preset="paper",
    backbone=BackboneSettings("mit-b1"),
    model=LPDSettings(prototypes_per_class=10, warmup_steps=3000),
    training=TrainSettings(epochs=8, batch=10, lr=5e-5, weight_decay=1e-3),
    augment=AugmentSettings(flips=True, stain_sigma=0.0, stain_bias=0.0),
)

LPD_CORRECTED = RunSettings(
    method="lpd",
    preset="corrected",
    model=LPDSettings(prototypes_per_class=3, fusion_weights=(0.0, 0.0, 0.5, 0.5), warmup_steps=200, max_pairs=8),
    training=TrainSettings(epochs=12, batch=32, lr=1e-3, weight_decay=0.05, warmup_steps=50),
    augment=AugmentSettings(flips=True, stain_sigma=0.2, stain_bias=0.04),
)

PRESETS: dict[str, dict[str, RunSettings]] = {
    "lpd": {"paper": LPD_PAPER, "released": LPD_RELEASED, "corrected": LPD_CORRECTED},
}


def preset_settings(method: str, preset: str) -> RunSettings:
    """Return a method's settings under a preset.

    Raises:
        ConfigError: if there is no such method or preset.
    """
    for kind, name, known in (("method", method, PRESETS), ("preset", preset, PRESETS.get(method, {}))):
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise ConfigError(f"unknown {kind} {name!r}; {hint}there is {', '.join(known)}")
    return PRESETS[method][preset]
