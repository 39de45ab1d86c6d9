"""Grad-CAM: trained exactly as plain CAM, so that they differ in their maps alone."""

from dataclasses import replace

from histoproto.contracts import Method, Parts
from histoproto.methods.gradcam import GradCAM, GradCAMSettings
from histoproto.presets import cam
from histoproto.presets.settings import MethodEntry, RunSettings

CORRECTED = replace(cam.CORRECTED, method="gradcam", model=GradCAMSettings())


def build(parts: Parts, settings: RunSettings) -> Method:
    """Build Grad-CAM."""
    assert isinstance(settings.model, GradCAMSettings)
    return GradCAM(parts.backbone, parts.classes, settings.model)


ENTRY = MethodEntry(build, {"corrected": CORRECTED})
