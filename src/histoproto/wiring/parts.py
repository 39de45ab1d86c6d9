"""Backbones from their settings, methods and segmenters from their parts."""

from dataclasses import replace
from typing import cast

from histoproto.backbones.frozen_pyramid import FrozenPyramid
from histoproto.backbones.recompute import recompute_blocks
from histoproto.backbones.registry import build_backbone
from histoproto.contracts import FeaturePyramid, LoadedWeights, Method, Parts
from histoproto.errors import ConfigError
from histoproto.normalise import IMAGENET_MEAN, IMAGENET_STD, Normalise
from histoproto.presets.registry import method_entry
from histoproto.presets.segment import LIBRARY, SegmentSettings
from histoproto.presets.settings import BackboneSettings, RunSettings
from histoproto.segmenters.networks import build_network
from histoproto.segmenters.segmenter import PseudoMaskSegmenter
from histoproto.taxonomy import Taxonomy

COARSEST_PX = 32
"""Coarsest stride of the library's encoders."""


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
    if chosen.recompute:
        recompute_blocks(backbone, chosen.name)
    if chosen.frozen:
        backbone = FrozenPyramid(backbone, pretrained=bool(weights.tensors))
    return backbone, weights


def assemble_segmenter(settings: SegmentSettings, taxonomy: Taxonomy, relabel_from: int = 0) -> PseudoMaskSegmenter:
    """Return a segmenter from random weights, or with those that its backbone names.

    Args:
        settings: ``backbone`` is resolved: it is not ``run``.
        taxonomy: classes to segment.
        relabel_from: step at which relabelling begins.

    Raises:
        ConfigError: if the architecture or the backbone is not known, or they do not fit.
        WeightsError: if weights are missing or do not fit.
    """
    chosen, outputs = settings.backbone, 2 * len(taxonomy)
    if chosen.name.startswith(LIBRARY):
        if chosen.recompute:
            raise ConfigError(f"backbone.recompute does not work with {chosen.name}; leave it out and lower the batch")
        network = build_network(settings.model.arch, chosen.name.removeprefix(LIBRARY), outputs)
        normalise = Normalise(chosen.mean or IMAGENET_MEAN, chosen.std or IMAGENET_STD, chosen.order, chosen.zoom)
        return PseudoMaskSegmenter(network, normalise, len(taxonomy), COARSEST_PX, settings.model, relabel_from)
    backbone, _ = pyramid(replace(chosen, zoom=1.0))  # enlarged before the network, so that masks keep their size
    network = build_network(settings.model.arch, backbone, outputs)
    zoom = Normalise((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), zoom=chosen.zoom)
    return PseudoMaskSegmenter(network, zoom, len(taxonomy), max(backbone.strides), settings.model, relabel_from)
