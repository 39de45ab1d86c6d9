"""ConStruct: settings of the paper, the released code, and the repaired method."""

from histoproto.contracts import Method, Parts
from histoproto.encoders.cards import CARDS
from histoproto.inference.settings import InferenceSettings
from histoproto.methods.construct import ConStruct, ConStructSettings
from histoproto.presets.settings import (
    BCSS_BGR_MEAN,
    BCSS_BGR_STD,
    BackboneSettings,
    EncoderSettings,
    MethodEntry,
    PrototypeSource,
    RunSettings,
)
from histoproto.training.settings import AugmentSettings, TrainSettings

CONCH = CARDS["conch"]
SEGFORMER = "hf:nvidia/mit-b1"

RELEASED = RunSettings(
    method="construct",
    preset="released",
    backbone=BackboneSettings(
        "conch-released", CONCH.source, mean=BCSS_BGR_MEAN, std=BCSS_BGR_STD, order="bgr", frozen=True
    ),
    teacher=BackboneSettings("mit-b1", SEGFORMER, order="bgr", frozen=True),
    encoder=EncoderSettings("conch-224"),
    prototypes=PrototypeSource(text_encoder="conch"),
    model=ConStructSettings(cam_level=3, form="released"),
    training=TrainSettings(
        epochs=2,
        batch=10,
        lr=2e-5,
        weight_decay=1e-3,
        decay_everything=True,
        schedule_decay="total",
        choose_by="validation-masks",
    ),
    augment=AugmentSettings(flips=True, stain_sigma=0.0, stain_bias=0.0),
    inference=InferenceSettings(views="released", background="unlikely", refine="crf"),
)

PAPER = RunSettings(
    method="construct",
    preset="paper",
    backbone=BackboneSettings("conch", CONCH.source, frozen=True),
    teacher=BackboneSettings("mit-b1", SEGFORMER, frozen=True),
    encoder=EncoderSettings("conch-224"),
    prototypes=PrototypeSource(text_encoder="conch"),
    model=ConStructSettings(),
    training=TrainSettings(epochs=2, batch=10, lr=2e-5, weight_decay=1e-3),
    augment=AugmentSettings(flips=True, stain_sigma=0.0, stain_bias=0.0),
)

CORRECTED = RunSettings(
    method="construct",
    preset="corrected",
    teacher=BackboneSettings("self"),
    model=ConStructSettings(temperature=0.3, warmup_steps=200, max_pairs=8),
    training=TrainSettings(epochs=12, batch=32, lr=1e-3, weight_decay=0.05, warmup_steps=50),
    augment=AugmentSettings(flips=True, stain_sigma=0.2, stain_bias=0.04),
)


def build(parts: Parts, settings: RunSettings) -> Method:
    """Build ConStruct."""
    assert isinstance(settings.model, ConStructSettings)
    return ConStruct(parts, settings.model)


ENTRY = MethodEntry(build, {"corrected": CORRECTED, "paper": PAPER, "released": RELEASED})
