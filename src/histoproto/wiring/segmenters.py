"""A segmenter with all its parts, ready to train."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

from histoproto.banks.folder import file_hash
from histoproto.contracts import LoadedWeights
from histoproto.presets.segment import LIBRARY, SegmentSettings
from histoproto.presets.settings import BackboneSettings
from histoproto.segmenters.pyramid_encoder import PyramidEncoder
from histoproto.segmenters.segmenter import PseudoMaskSegmenter
from histoproto.taxonomy import Taxonomy
from histoproto.weights import initialise
from histoproto.wiring.encoders import FROM_RUN, backbone_of
from histoproto.wiring.parts import assemble_segmenter, pyramid
from histoproto.wiring.runs import Run, load_run

HEADS = ("fc.", "classifier.", "head.")
"""Tensors of published classifiers that an encoder has no use for."""


class BuiltSegmenter(NamedTuple):
    """A segmenter and where its weights came from."""

    model: PseudoMaskSegmenter
    weights: list[LoadedWeights]


def own_backbone(run: Run, *, trained: bool) -> BackboneSettings:
    """Return the backbone of a run, with the weights that a segmenter on it starts from.

    These are the pretrained weights that the run itself started from: a network that already makes the errors of the
    pseudo masks keeps them. Where it started from random numbers, they are the ones that it has learned.

    Args:
        run: of the first stage; of a segmenter what that one started from is taken, whatever it was.
        trained: start from what the run has learned in any case.
    """
    backbone = run.settings.backbone
    stays = backbone.frozen or isinstance(run.settings, SegmentSettings)
    if stays or (backbone.weights not in (None, "none") and not trained):
        return backbone
    return replace(backbone, weights=f"{FROM_RUN}{run.folder.path.absolute()}")


def build_segmenter(settings: SegmentSettings, taxonomy: Taxonomy, relabel_from: int) -> BuiltSegmenter:
    """Build a segmenter; weights are loaded where ``settings.backbone`` names any.

    Raises:
        ConfigError: if a name is not known or settings do not fit together.
        RunError: if the run that the weights are from is gone.
        WeightsError: if weights are missing or do not fit.
    """
    chosen = settings.backbone
    unfilled = chosen if chosen.frozen else replace(chosen, weights=None)
    model = assemble_segmenter(replace(settings, backbone=unfilled), taxonomy, relabel_from)
    return BuiltSegmenter(model, [_fill(model, chosen)])


def _fill(model: PseudoMaskSegmenter, chosen: BackboneSettings) -> LoadedWeights:
    """Give the encoder the weights that it starts from."""
    encoder = model.network.get_submodule("encoder")
    if chosen.name.startswith(LIBRARY):
        return initialise(encoder, chosen.weights, ignore=HEADS)
    if chosen.weights is not None and chosen.weights.startswith(FROM_RUN):
        run = load_run(Path(chosen.weights.removeprefix(FROM_RUN)))
        tensors = backbone_of(run).state_dict()
        cast(PyramidEncoder, encoder).pyramid.load_state_dict(tensors)
        file = run.folder.checkpoint("best") / "model.safetensors"
        return LoadedWeights(chosen.weights, file_hash(file), len(tensors))
    filled, weights = pyramid(replace(chosen, zoom=1.0))
    if not chosen.frozen:
        cast(PyramidEncoder, encoder).pyramid.load_state_dict(filled.state_dict())
    return weights
