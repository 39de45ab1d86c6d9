"""The one place where names become objects."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

import torch
from safetensors.torch import load_file
from torch import Tensor

from histoproto.backbones.frozen_pyramid import FrozenPyramid
from histoproto.backbones.moving_average import MovingAverage
from histoproto.backbones.registry import build_backbone, is_backbone
from histoproto.banks.features import fingerprint
from histoproto.banks.folder import file_hash, read_bank
from histoproto.contracts import (
    FeaturePyramid,
    ImageEncoder,
    LoadedWeights,
    Method,
    MethodSettings,
    Parts,
    Prototypes,
)
from histoproto.encoders.backbone_mean import BackboneEncoder
from histoproto.encoders.registry import PRETRAINED, build_encoder, build_text_encoder
from histoproto.errors import ConfigError, RunError
from histoproto.inference.settings import Refine
from histoproto.normalise import Normalise
from histoproto.presets.changes import read_settings
from histoproto.presets.registry import method_entry
from histoproto.presets.settings import BackboneSettings, EncoderSettings, PrototypeSource, RunSettings
from histoproto.prompts.reader import read_prompts
from histoproto.prototypes.from_text import text_prototypes
from histoproto.prototypes.grouping import counts_per_class
from histoproto.runs import RunFolder
from histoproto.taxonomy import Taxonomy

TRAINING_ONLY = ("encoder.", "teacher.", "memory.")
"""Parts of a method that a trained run is loaded without."""
FROM_BANK = "bank"
"""Encoder name: the one that the image bank was made with."""
FROM_RUN = "run:"
"""Prefix of an encoder that is the backbone of an earlier run, as in ``run:runs/lpd``."""
DRAWN_SEED = 0
"""Random weights of an encoder depend on nothing else, so that a bank's encoder can be drawn again."""


class Built(NamedTuple):
    """A method, where its weights came from, and its settings with what its prototypes decided."""

    method: Method
    weights: list[LoadedWeights]
    settings: RunSettings


class Run(NamedTuple):
    """A trained run, ready to look at images."""

    folder: RunFolder
    settings: RunSettings
    taxonomy: Taxonomy
    study: Path
    method: Method

    def refined(self, refine: Refine | None) -> "Run":
        """Return the run with another refiner of its masks; None leaves it as it is set."""
        if refine is None:
            return self
        inference = replace(self.settings.inference, refine=refine)
        return self._replace(settings=replace(self.settings, inference=inference))


def build(settings: RunSettings, taxonomy: Taxonomy) -> Built:
    """Build a method with all its parts; weights are loaded where the settings name any.

    Raises:
        ConfigError: if a name is not known or settings do not fit together.
        DataError: if there is no complete image bank where the settings say.
        WeightsError: if weights are missing or do not fit.
    """
    start = _starting_prototypes(settings.prototypes, settings.model, taxonomy)
    backbone, weights = _pyramid(settings.backbone)
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
    method = _assemble(settings, Parts(backbone, len(taxonomy), encoder, teacher, prototypes))
    return Built(method, loaded, settings)


def _assemble(settings: RunSettings, parts: Parts) -> Method:
    method = method_entry(settings.method).build(parts, settings)
    if settings.inference.background == "unlikely" and not method.unit_maps:
        raise ConfigError("inference.background unlikely needs maps in [0, 1], which form released gives; use white")
    return method


def _teacher(chosen: BackboneSettings, backbone: FeaturePyramid) -> tuple[FeaturePyramid, LoadedWeights]:
    """Return a frozen teacher, or for ``self`` the moving average of the trained backbone."""
    if chosen.name == "self":
        return MovingAverage(backbone), LoadedWeights("none")
    return _pyramid(replace(chosen, frozen=True))


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


def load_encoder(name: str, weights: str | None) -> tuple[ImageEncoder, LoadedWeights]:
    """Return a frozen encoder that stands on its own.

    Args:
        name: a name of ``encoders/registry.py``, ``run:PATH`` for the backbone of an earlier run, or the name of a
            backbone, whose last level is then averaged over positions.
        weights: as for ``build_encoder``; a run brings its own, a backbone needs them.

    Raises:
        ConfigError: if the name is not known, or is ``self`` or ``none``.
        RunError: if there is no trained run where ``run:`` says.
        WeightsError: if weights are missing or do not fit.
    """
    if name.startswith(FROM_RUN):
        if weights is not None:
            raise ConfigError(f"{name} brings its own weights; leave --encoder-weights out")
        run = load_run(Path(name.removeprefix(FROM_RUN)))
        file = run.folder.checkpoint("best") / "model.safetensors"
        backbone = _backbone_of(run)
        return BackboneEncoder(backbone), LoadedWeights(name, file_hash(file), len(backbone.state_dict()))
    if is_backbone(name) and name not in PRETRAINED:
        if weights is None:
            raise ConfigError(f"{name} as encoder needs weights; name a file, a folder or hf:org/name")
        backbone, loaded = build_backbone(name, weights)
        return BackboneEncoder(backbone.eval()), loaded
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(DRAWN_SEED)
        unused, _ = _pyramid(BackboneSettings())  # only ``self`` looks at it
        encoder, loaded = build_encoder(name, weights, unused)
    if encoder is None or name == "self":
        raise ConfigError(
            f"encoder {name} does not stand on its own; train a first run, for example histoproto train lpd STUDY "
            "--run runs/lpd, and take its backbone with --encoder run:runs/lpd"
        )
    return encoder, loaded


def _backbone_of(run: Run) -> FeaturePyramid:
    backbone = getattr(run.method, "backbone", None)
    if not isinstance(backbone, FeaturePyramid):
        raise ConfigError(f"the method of {run.folder.path} has no backbone to encode with; take an lpd run")
    return backbone


def _pyramid(chosen: BackboneSettings) -> tuple[FeaturePyramid, LoadedWeights]:
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


def load_run(path: Path, checkpoint: str = "best") -> Run:
    """Rebuild a trained method from its run folder, without what served its training alone.

    Args:
        path: the run folder.
        checkpoint: ``best`` or ``last``.

    Raises:
        RunError: if the folder is no run, or the checkpoint is absent or of another taxonomy.
    """
    folder = RunFolder(path)
    config = folder.read_config()
    settings = read_settings(config, folder.config_file)
    taxonomy = Taxonomy.from_dict(config["taxonomy"])
    file = folder.checkpoint(checkpoint) / "model.safetensors"
    if not file.is_file():
        raise RunError(
            f"{path} has no {checkpoint} checkpoint; finish its training with: histoproto train --resume {path}"
        )
    tensors = {name: tensor for name, tensor in load_file(file).items() if not name.startswith(TRAINING_ONLY)}
    backbone, _ = _pyramid(_as_in_checkpoint(settings.backbone))
    parts = Parts(backbone, len(taxonomy), prototypes=_trained_prototypes(settings.model, tensors, len(taxonomy)))
    method = _assemble(replace(settings, encoder=EncoderSettings("none"), teacher=None), parts)
    _fill(method, tensors, file, taxonomy)
    return Run(folder, settings, taxonomy, Path(config["study"]), method.eval())


def _as_in_checkpoint(backbone: BackboneSettings) -> BackboneSettings:
    """Return the backbone without its pretrained weights, unless it is frozen: then no checkpoint holds them."""
    return backbone if backbone.frozen else replace(backbone, weights=None)


def _trained_prototypes(model: MethodSettings, tensors: Mapping[str, Tensor], classes: int) -> Prototypes | None:
    """Return the checkpoint's prototypes, so that the method takes their number and length from them."""
    if "prototypes" not in tensors:
        return None
    return Prototypes(tensors["prototypes"], counts_per_class(model.prototypes_per_class, classes))


def _fill(method: Method, tensors: Mapping[str, Tensor], file: Path, taxonomy: Taxonomy) -> None:
    own = method.state_dict()
    odd = sorted(name for name in own.keys() | tensors.keys() if _shape(own.get(name)) != _shape(tensors.get(name)))
    if odd:
        raise RunError(
            f"{file} does not fit {taxonomy.name} with {len(taxonomy)} classes: {odd[0]} and {len(odd) - 1} other "
            "tensors differ; was the checkpoint copied from another run?"
        )
    method.load_state_dict(tensors)


def _shape(tensor: Tensor | None) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)
