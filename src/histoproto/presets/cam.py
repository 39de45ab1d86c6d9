"""Plain CAM: backbone, training and augmentation as of the repaired prototype methods, so that they compare."""

from histoproto.contracts import Method, MethodSettings, Parts
from histoproto.methods.cam import CAM
from histoproto.presets.settings import EncoderSettings, MethodEntry, RunSettings
from histoproto.training.settings import AugmentSettings, TrainSettings

CORRECTED = RunSettings(
    method="cam",
    preset="corrected",
    model=MethodSettings(),
    encoder=EncoderSettings("none"),
    training=TrainSettings(epochs=12, batch=32, lr=1e-3, weight_decay=0.05, warmup_steps=50),
    augment=AugmentSettings(flips=True, stain_sigma=0.2, stain_bias=0.04),
)


def build(parts: Parts, settings: RunSettings) -> Method:
    """Build CAM."""
    return CAM(parts.backbone, parts.classes, settings.model)


ENTRY = MethodEntry(build, {"corrected": CORRECTED})
