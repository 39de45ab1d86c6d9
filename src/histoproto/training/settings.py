"""How to train and how to augment. Plain values: importing this does not import torch."""

from dataclasses import dataclass
from typing import Literal

from histoproto.errors import ConfigError

Precision = Literal["bf16", "fp32"]
ScheduleDecay = Literal["remaining", "total"]
ChooseBy = Literal["holdout-loss", "validation-masks", "last"]


@dataclass(frozen=True)
class TrainSettings:
    """Settings of `histoproto.training.loop.fit`.

    Raises:
        ConfigError: if a value is out of its range or two values contradict each other.
    """

    epochs: int = 10
    """Passes over the training patches."""
    batch: int = 16
    """Patches per optimiser step, over all processes together."""
    repeat_threshold: float = 0.0
    """Patches of classes that fewer than this share of patches show are drawn more often, by the root of the ratio
    (`histoproto.training.balance`); 0 draws every patch once an epoch."""
    lr: float = 1e-4
    """Peak learning rate of AdamW."""
    weight_decay: float = 0.01
    """Decoupled weight decay of AdamW."""
    decay_everything: bool = False
    """Decay every parameter (the released codes); otherwise norms, biases and learnable scales are exempt."""
    backbone_lr_factor: float = 1.0
    """Factor on the learning rate of parameters below ``backbone.``."""
    warmup_steps: int = 0
    """Optimiser steps during which the learning rate rises linearly to its peak."""
    poly_power: float = 1.0
    """Exponent of the polynomial decay after the warm-up; 1 is a straight line."""
    schedule_decay: ScheduleDecay = "remaining"
    """What the decay's progress is divided by: the steps after the warm-up, so that it ends at zero, or all
    steps (the released codes, which stop above zero)."""
    average: float = 0.0
    """Momentum per step of a moving average of all weights, which then takes their place in the holdout loss and in
    ``best`` (Tarvainen and Valpola, NeurIPS 2017); 0 keeps the weights as they are."""
    precision: Precision = "fp32"
    """Forward pass in bfloat16 autocast, or everything in float32."""
    choose_by: ChooseBy = "holdout-loss"
    """What decides which epoch is kept as ``best``. Only ``validation-masks`` looks at masks; a result chosen
    so must be called *val-tuned*."""
    patience: int | None = None
    """Stop after this many epochs in a row without a better figure; None trains to the end."""
    workers: int = 0
    """Processes per training process that read patches; 0 reads in the training process itself."""
    log_every_steps: int = 20
    """Steps between two points in TensorBoard and between two updates of the terms in the progress bar."""
    save_every_steps: int = 500
    """Steps between two saves of ``last`` inside an epoch; each epoch's end saves as well."""

    def __post_init__(self) -> None:
        """Check ranges and contradictions."""
        for name in ("epochs", "batch", "log_every_steps", "save_every_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, but must be at least 1")
        for name in ("weight_decay", "backbone_lr_factor", "warmup_steps", "poly_power", "workers", "repeat_threshold"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}, but must not be negative")
        if self.lr <= 0:
            raise ConfigError(f"lr is {self.lr}, but must be above 0")
        if not 0 <= self.average < 1:
            raise ConfigError(f"average is {self.average}, but must be at least 0 and below 1")
        if self.repeat_threshold > 1:
            raise ConfigError(f"repeat_threshold is {self.repeat_threshold}, but is a share of patches: at most 1")
        self._check_patience()

    def _check_patience(self) -> None:
        if self.patience is not None and self.patience < 1:
            raise ConfigError(f"patience is {self.patience}, but must be at least 1 epoch (or none)")
        if self.patience is not None and self.choose_by == "last":
            raise ConfigError("patience needs a figure to watch, but choose_by is 'last'; drop one of the two")


@dataclass(frozen=True)
class AugmentSettings:
    """How training patches are varied, see `histoproto.training.augment`. The default varies nothing.

    Raises:
        ConfigError: if a strength is out of its range.
    """

    flips: bool = False
    """Turn and mirror: one of the eight symmetries of the square (of the rectangle: four), drawn uniformly."""
    stain_sigma: float = 0.0
    """σ of Tellez et al. 2018: each stain's amount is scaled by a factor from U(1 - σ, 1 + σ); 0.05 is light,
    0.2 strong."""
    stain_bias: float = 0.0
    """β of the same paper: to each stain's amount a number from U(-β, β) is added (natural optical density)."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("stain_sigma", "stain_bias"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, but must be at least 0 and below 1")


@dataclass(frozen=True)
class MosaicSettings:
    """How many training images of a segmenter are composed, see `histoproto.training.mosaic`. The default is none.

    Raises:
        ConfigError: if a share is out of its range.
    """

    share: float = 0.0
    """Share of the images that are made of several patches with a single label each: every pixel's class is known."""
    pasted: float = 0.0
    """Share of the images into which a region of a patch with a single label is pasted: there the class is known."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.share < 0 or self.pasted < 0 or self.share + self.pasted > 1:
            raise ConfigError(
                f"mosaics share {self.share} and pasted {self.pasted}: shares of the images, 0 to 1 together"
            )
