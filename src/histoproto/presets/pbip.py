"""PBIP: settings of the paper, the released code, and the repaired method."""

from histoproto.contracts import Method, Parts
from histoproto.errors import ConfigError
from histoproto.inference.settings import InferenceSettings
from histoproto.methods.pbip import PBIP, PBIPSettings
from histoproto.presets.settings import (
    BCSS_BGR_MEAN,
    BCSS_BGR_STD,
    BackboneSettings,
    EncoderSettings,
    MethodEntry,
    RunSettings,
)
from histoproto.training.settings import AugmentSettings, TrainSettings

BANK = EncoderSettings("bank")
"""The encoder that the bank was made with."""

RELEASED = RunSettings(
    method="pbip",
    preset="released",
    encoder=BANK,
    backbone=BackboneSettings("mit-b1", mean=BCSS_BGR_MEAN, std=BCSS_BGR_STD, order="bgr"),
    model=PBIPSettings(
        level_weights=(0.0, 0.1, 1.0, 1.0), fusion_weights=(0.0, 0.3, 0.3, 0.4), area_weight=5e-4, form="released"
    ),
    training=TrainSettings(
        epochs=8,
        batch=10,
        lr=5e-5,
        weight_decay=1e-3,
        decay_everything=True,
        schedule_decay="total",
        choose_by="validation-masks",
    ),
    augment=AugmentSettings(flips=True),
    inference=InferenceSettings(views="released", background="unlikely"),
)

PAPER = RunSettings(
    method="pbip",
    preset="paper",
    encoder=BANK,
    backbone=BackboneSettings("mit-b1"),
    model=PBIPSettings(
        level_weights=(1.0, 1.0, 1.0, 0.0),
        fusion_weights=(1.0, 1.0, 1.0, 0.0),
        scale=1.0,
        similarity_weight=0.5,
        background_weight=0.5,
        foreground_fraction=0.15,
        space="projected",
        temperature=1.0,
        form="paper",
    ),
    training=TrainSettings(epochs=10, batch=10, lr=1e-5, weight_decay=3e-3),
    inference=InferenceSettings(views="none"),
)

CORRECTED = RunSettings(
    method="pbip",
    preset="corrected",
    encoder=BANK,
    model=PBIPSettings(temperature=0.3, warmup_steps=200, max_pairs=8),
    training=TrainSettings(epochs=12, batch=32, lr=1e-3, weight_decay=0.05, warmup_steps=50),
    augment=AugmentSettings(flips=True, stain_sigma=0.2, stain_bias=0.04),
)


def build(parts: Parts, settings: RunSettings) -> Method:
    """Build PBIP.

    Raises:
        ConfigError: if there are no prototypes to start from.
    """
    assert isinstance(settings.model, PBIPSettings)
    if parts.prototypes is None:
        raise ConfigError(
            "pbip starts from an image bank; make one with: histoproto bank STUDY --out bank --encoder run:RUN, "
            "then train with --bank bank"
        )
    return PBIP(parts.backbone, parts.encoder, parts.prototypes, settings.model)


ENTRY = MethodEntry(build, {"corrected": CORRECTED, "paper": PAPER, "released": RELEASED})
