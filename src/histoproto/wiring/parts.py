"""Backbones from their settings, methods from their parts."""

from typing import cast

from histoproto.backbones.frozen_pyramid import FrozenPyramid
from histoproto.backbones.registry import build_backbone
from histoproto.contracts import FeaturePyramid, LoadedWeights, Method, Parts
from histoproto.errors import ConfigError
from histoproto.normalise import Normalise
from histoproto.presets.registry import method_entry
from histoproto.presets.settings import BackboneSettings, RunSettings


def assemble(settings: RunSettings, parts: Parts) -> Method:
    """Return a method made of its parts.

    Raises:
        ConfigError: if the background rule needs other class maps than the method makes.
    """
    method = method_entry(settings.method).build(parts, settings)
    if settings.inference.background == "unlikely" and not method.unit_maps:
        raise ConfigError("inference.background unlikely needs maps in [0, 1], which form released gives; use white")
    return method


def pyramid(chosen: BackboneSettings) -> tuple[FeaturePyramid, LoadedWeights]:
    """Return a backbone that normalises as the settings say, and where its weights came from.

    Raises:
        ConfigError: if the name is not known or settings do not fit it.
        WeightsError: if weights are missing or do not fit.
    """
    given = None
    if chosen.mean is not None and chosen.std is not None:
        given = Normalise(chosen.mean, chosen.std)
    options = {"frozen_levels": chosen.frozen_levels} if chosen.frozen_levels else {}
    if options and chosen.name != "mobilenet-v2":
        raise ConfigError(f"frozen_levels works with mobilenet-v2, not with {chosen.name}; set it to 0")
    backbone, weights = build_backbone(chosen.name, chosen.weights, given, **options)
    normalise = cast(Normalise, backbone.get_submodule("normalise"))
    normalise.order, normalise.zoom = chosen.order, chosen.zoom
    if chosen.frozen:
        backbone = FrozenPyramid(backbone, pretrained=bool(weights.tensors))
    return backbone, weights
