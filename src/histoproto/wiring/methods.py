"""A method with all its parts, ready to train."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from histoproto.backbones.moving_average import MovingAverage
from histoproto.banks.features import fingerprint
from histoproto.banks.folder import read_bank
from histoproto.contracts import (
    FeaturePyramid,
    ImageEncoder,
    LoadedWeights,
    Method,
    MethodSettings,
    Parts,
    Prototypes,
)
from histoproto.encoders.registry import build_encoder, build_text_encoder
from histoproto.errors import ConfigError
from histoproto.presets.settings import BackboneSettings, EncoderSettings, PrototypeSource, RunSettings
from histoproto.prompts.reader import read_prompts
from histoproto.prototypes.from_text import text_prototypes
from histoproto.prototypes.grouping import counts_per_class
from histoproto.taxonomy import Taxonomy
from histoproto.wiring.encoders import load_encoder
from histoproto.wiring.parts import assemble, pyramid

FROM_BANK = "bank"
"""Encoder name: the one that the image bank was made with."""


class Built(NamedTuple):
    """A method, where its weights came from, and its settings with what its prototypes decided."""

    method: Method
    weights: list[LoadedWeights]
    settings: RunSettings


def build(settings: RunSettings, taxonomy: Taxonomy) -> Built:
    """Build a method with all its parts; weights are loaded where the settings name any.

    Raises:
        ConfigError: if a name is not known or settings do not fit together.
        DataError: if there is no complete image bank where the settings say.
        WeightsError: if weights are missing or do not fit.
    """
    start = _starting_prototypes(settings.prototypes, settings.model, taxonomy)
    backbone, weights = pyramid(settings.backbone)
    loaded = [weights]
    encoder, weights = _encoder(settings.encoder, settings.prototypes, backbone)
    loaded.append(weights)
    teacher: FeaturePyramid | None = None
    if settings.teacher is not None and settings.teacher.name != "none":
        teacher, weights = _teacher(settings.teacher, backbone)
        loaded.append(weights)
    prototypes: Prototypes | None = None
    if start is not None:
        prototypes, weights = start
        loaded.append(weights)
        settings = replace(settings, model=replace(settings.model, prototypes_per_class=prototypes.counts))
    method = assemble(settings, Parts(backbone, len(taxonomy), encoder, teacher, prototypes))
    return Built(method, loaded, settings)


def _teacher(chosen: BackboneSettings, backbone: FeaturePyramid) -> tuple[FeaturePyramid, LoadedWeights]:
    """Return a frozen teacher, or for ``self`` the moving average of the trained backbone."""
    if chosen.name == "self":
        return MovingAverage(backbone), LoadedWeights("none")
    return pyramid(replace(chosen, frozen=True))


def _starting_prototypes(
    source: PrototypeSource, model: MethodSettings, taxonomy: Taxonomy
) -> tuple[Prototypes, LoadedWeights] | None:
    """Return prototypes from an image bank or from text, and where they came from; None: the method draws its own."""
    if source.bank is not None and source.text_encoder is not None:
        raise ConfigError("prototypes come from an image bank or from text, not from both; leave one of the two out")
    if source.text_encoder is not None:
        return _text_prototypes(source, model, taxonomy)
    if source.bank is None:
        return None
    bank = read_bank(Path(source.bank))
    if bank.classes != taxonomy.classes:
        raise ConfigError(
            f"the bank {source.bank} has prototypes of {', '.join(bank.classes)}, but the study's classes are "
            f"{', '.join(taxonomy.classes)}; make a bank of this study"
        )
    provenance = LoadedWeights(f"bank:{source.bank}", sha256=bank.record["prototypes_sha256"], tensors=1)
    return Prototypes(bank.prototypes, bank.counts), provenance


def _text_prototypes(
    source: PrototypeSource, model: MethodSettings, taxonomy: Taxonomy
) -> tuple[Prototypes, LoadedWeights]:
    """Return the mean embedding of each class's sentences."""
    assert source.text_encoder is not None
    counts = counts_per_class(model.prototypes_per_class, len(taxonomy))
    prompts = read_prompts(source.prompts, taxonomy)
    encoder, loaded = build_text_encoder(source.text_encoder, source.text_weights)
    with torch.no_grad():
        vectors = {name: encoder(sentences) for name, sentences in zip(taxonomy.classes, prompts, strict=True)}
    return Prototypes(text_prototypes(vectors, counts), counts), loaded


def _encoder(
    chosen: EncoderSettings, source: PrototypeSource, backbone: FeaturePyramid
) -> tuple[ImageEncoder | None, LoadedWeights]:
    """Return the encoder of the similarity loss, which is that of the image bank where there is one."""
    bank = None if source.bank is None else read_bank(Path(source.bank))
    if chosen.name == FROM_BANK:
        if bank is None:
            raise ConfigError(
                "encoder bank is the encoder of an image bank, but there is no bank: make one with histoproto bank "
                "and name it with --bank"
            )
        chosen = EncoderSettings(bank.encoder["name"], bank.encoder["weights"])
    if chosen.name == "self" and bank is not None:
        raise ConfigError(
            f"encoder self follows the training, but the prototypes of {source.bank} are features of "
            f"{bank.encoder['name']}; take the bank's own with --encoder bank"
        )
    if chosen.name in ("none", "self"):
        return build_encoder(chosen.name, chosen.weights, backbone)
    encoder, weights = load_encoder(chosen.name, chosen.weights)
    if bank is not None and fingerprint(encoder) != bank.encoder["fingerprint"]:
        raise ConfigError(
            f"the encoder {chosen.name} is not the one that made the bank {source.bank}, {bank.encoder['name']}, "
            "or has other weights, so its features are no neighbours of these prototypes; leave --encoder out, and "
            "the bank's own is taken, or make the bank again"
        )
    return encoder, weights
