"""The one place where names become objects."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pydantic
from safetensors.torch import load_file

from histoproto.backbones.normalise import Normalise
from histoproto.backbones.registry import build_backbone
from histoproto.contracts import FeaturePyramid, ImageEncoder, LoadedWeights, Method
from histoproto.encoders.registry import build_encoder
from histoproto.errors import ConfigError, RunError
from histoproto.methods.lpd import LPD
from histoproto.presets import RunSettings, preset_settings
from histoproto.runs import RunFolder
from histoproto.taxonomy import Taxonomy

Build = Callable[[FeaturePyramid, ImageEncoder | None, int, RunSettings], Method]

METHODS: dict[str, Build] = {
    "lpd": lambda backbone, encoder, classes, settings: LPD(backbone, encoder, classes, settings.model),
}


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
    """Build a method with its backbone and encoder; weights are loaded where the settings name any.

    Raises:
        ConfigError: if a name is not known or settings do not fit together.
        WeightsError: if weights are missing or do not fit.
    """
    if settings.method not in METHODS:
        raise ConfigError(f"unknown method {settings.method!r}; there is {', '.join(METHODS)}")
    if settings.inference.background == "unlikely" and settings.model.form != "released":
        raise ConfigError("inference.background unlikely needs maps in [0, 1], which form released gives; use white")
    chosen = settings.backbone
    normalise = Normalise(chosen.mean, chosen.std, chosen.order, chosen.zoom)
    options = {"frozen_levels": chosen.frozen_levels} if chosen.frozen_levels else {}
    if options and chosen.name != "mobilenet-v2":
        raise ConfigError(f"frozen_levels works with mobilenet-v2, not with {chosen.name}; set it to 0")
    backbone, weights = build_backbone(chosen.name, chosen.weights, normalise, **options)
    encoder = build_encoder(settings.encoder, backbone)
    return Built(METHODS[settings.method](backbone, encoder, len(taxonomy), settings), [weights])


def describe(settings: RunSettings, taxonomy: Taxonomy, study: Path) -> dict[str, Any]:
    """Return the content of ``config.yaml``: plain values from which ``load_run`` rebuilds the run."""
    plain: dict[str, Any] = pydantic.TypeAdapter(RunSettings).dump_python(settings, mode="json")
    return {**plain, "taxonomy": taxonomy.to_dict(), "study": str(study)}


def read_settings(config: dict[str, Any], where: Path) -> RunSettings:
    """Return the settings of a run's ``config.yaml``; arguments and errors as ``merge_settings``."""
    plain = {key: value for key, value in config.items() if key not in ("taxonomy", "study")}
    for kind in ("method", "preset"):
        if kind not in plain:
            raise ConfigError(f"{where}: no {kind}; restore the file from the run that wrote it")
    return merge_settings(preset_settings(plain["method"], plain["preset"]), plain, where)


def merge_settings(base: RunSettings, changes: dict[str, Any], where: Path) -> RunSettings:
    """Return settings with some values changed.

    Args:
        base: what to start from.
        changes: nested plain values with the names of ``RunSettings``.
        where: their source, for errors.

    Raises:
        ConfigError: naming the first setting that does not exist or the first value of the wrong type.
    """
    adapter = pydantic.TypeAdapter(RunSettings)
    plain = _merged(adapter.dump_python(base), changes, where, ())
    try:
        return adapter.validate_python(plain)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{where}: {place}: {first['msg'].lower()}, not {first['input']!r}") from None


def _merged(base: dict[str, Any], changes: dict[str, Any], where: Path, path: tuple[str, ...]) -> dict[str, Any]:
    for name, value in changes.items():
        if name not in base:
            place = ".".join((*path, str(name)))
            raise ConfigError(f"{where}: there is no setting {place}; here there are {', '.join(base)}")
        if isinstance(base[name], dict) and not isinstance(value, dict):
            raise ConfigError(f"{where}: {'.'.join((*path, name))} needs settings below it, not {value!r}")
    return base | {
        name: _merged(base[name], value, where, (*path, name)) if isinstance(value, dict) else value
        for name, value in changes.items()
    }


def load_run(path: Path, checkpoint: str = "best") -> Run:
    """Rebuild a trained method from its run folder.

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
    method = build(_with_random_weights(settings), taxonomy).method
    _fill(method, file, taxonomy)
    return Run(folder, settings, taxonomy, Path(config["study"]), method.eval())


def _with_random_weights(settings: RunSettings) -> RunSettings:
    """Return the settings without pretrained weights: the checkpoint holds all that was trained."""
    return replace(settings, backbone=replace(settings.backbone, weights=None))


def _fill(method: Method, file: Path, taxonomy: Taxonomy) -> None:
    tensors = load_file(file)
    own = method.state_dict()
    odd = sorted(name for name in own.keys() | tensors.keys() if _shape(own.get(name)) != _shape(tensors.get(name)))
    if odd:
        raise RunError(
            f"{file} does not fit {taxonomy.name} with {len(taxonomy)} classes: {odd[0]} and {len(odd) - 1} other "
            "tensors differ; was the checkpoint copied from another run?"
        )
    method.load_state_dict(tensors)


def _shape(tensor: Any) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)
