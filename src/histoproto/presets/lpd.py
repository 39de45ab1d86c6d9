"""LPD: settings of the paper, the released code, and the repaired method."""

from histoproto.contracts import Method, Parts
from histoproto.inference.settings import InferenceSettings
from histoproto.methods.lpd import LPD, LPDSettings
from histoproto.presets.settings import BCSS_BGR_MEAN, BCSS_BGR_STD, BackboneSettings, MethodEntry, RunSettings
from histoproto.training.settings import AugmentSettings, TrainSettings

RELEASED = RunSettings(
    method="lpd",
    preset="released",
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
    inference=InferenceSettings(views="released", background="unlikely", refine="crf"),
)

PAPER = RunSettings(
    method="lpd",
    preset="paper",
    backbone=BackboneSettings("mit-b1"),
    model=LPDSettings(prototypes_per_class=10, warmup_steps=3000),
    training=TrainSettings(epochs=8, batch=10, lr=5e-5, weight_decay=1e-3),
    augment=AugmentSettings(flips=True, stain_sigma=0.0, stain_bias=0.0),
)

CORRECTED = RunSettings(
    method="lpd",
    preset="corrected",
    model=LPDSettings(prototypes_per_class=3, fusion_weights=(0.0, 0.0, 0.5, 0.5), warmup_steps=200, max_pairs=8),
    training=TrainSettings(epochs=12, batch=32, lr=1e-3, weight_decay=0.05, warmup_steps=50),
    augment=AugmentSettings(flips=True, stain_sigma=0.2, stain_bias=0.04),
)


def build(parts: Parts, settings: RunSettings) -> Method:
    """Build LPD."""
    assert isinstance(settings.model, LPDSettings)
    return LPD(parts.backbone, parts.encoder, parts.classes, settings.model, parts.prototypes)


ENTRY = MethodEntry(build, {"corrected": CORRECTED, "paper": PAPER, "released": RELEASED})
