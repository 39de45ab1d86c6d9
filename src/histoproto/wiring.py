"""The one place where names become objects."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from safetensors.torch import load_file
from torch import Tensor

from histoproto.backbones.frozen_pyramid import FrozenPyramid
from histoproto.backbones.registry import build_backbone
from histoproto.contracts import FeaturePyramid, LoadedWeights, Method, MethodSettings, Parts, Prototypes
from histoproto.encoders.registry import build_encoder
from histoproto.errors import ConfigError, RunError
from histoproto.normalise import Normalise
from histoproto.presets.changes import read_settings
from histoproto.presets.registry import method_entry
from histoproto.presets.settings import BackboneSettings, EncoderSettings, RunSettings
from histoproto.prototypes.grouping import counts_per_class
from histoproto.runs import RunFolder
from histoproto.taxonomy import Taxonomy

TRAINING_ONLY = ("encoder.", "teacher.")
"""Parts of a method that a trained run is loaded without."""


class Built(NamedTuple):
    """A method and where its weights came from."""

    method: Method
    weights: list[LoadedWeights]


class Run(NamedTuple):
    """A trained run, ready to look at images."""

    folder: RunFolder
    settings: RunSettings
    taxonomy: Taxonomy
    study: Path
    method: Method


def build(settings: RunSettings, taxonomy: Taxonomy) -> Built:
    """Build a method with all its parts; weights are loaded where the settings name any.

    Raises:
        ConfigError: if a name is not known or settings do not fit together.
        WeightsError: if weights are missing or do not fit.
    """
    backbone, weights = _pyramid(settings.backbone)
    loaded = [weights]
    encoder, weights = build_encoder(settings.encoder.name, settings.encoder.weights, backbone)
    loaded.append(weights)
    teacher: FeaturePyramid | None = None
    if settings.teacher is not None:
        teacher, weights = _pyramid(replace(settings.teacher, frozen=True))
        loaded.append(weights)
    method = _assemble(settings, Parts(backbone, len(taxonomy), encoder, teacher))
    return Built(method, loaded)


def _assemble(settings: RunSettings, parts: Parts) -> Method:
    method = method_entry(settings.method).build(parts, settings)
    if settings.inference.background == "unlikely" and not method.unit_maps:
        raise ConfigError("inference.background unlikely needs maps in [0, 1], which form released gives; use white")
    return method


def _pyramid(chosen: BackboneSettings) -> tuple[FeaturePyramid, LoadedWeights]:
    normalise = Normalise(chosen.mean, chosen.std, chosen.order, chosen.zoom)
    options = {"frozen_levels": chosen.frozen_levels} if chosen.frozen_levels else {}
    if options and chosen.name != "mobilenet-v2":
        raise ConfigError(f"frozen_levels works with mobilenet-v2, not with {chosen.name}; set it to 0")
    backbone, weights = build_backbone(chosen.name, chosen.weights, normalise, **options)
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
