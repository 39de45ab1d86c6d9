"""Settings to plain values and back, with changes in between."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pydantic
import yaml

from histoproto.errors import ConfigError, RunError
from histoproto.presets.registry import preset_settings
from histoproto.presets.segment import SEGMENTER, SegmentSettings
from histoproto.presets.settings import RunSettings
from histoproto.taxonomy import Taxonomy


def describe(settings: RunSettings | SegmentSettings, taxonomy: Taxonomy, study: Path) -> dict[str, Any]:
    """Return the content of ``config.yaml``: plain values from which ``read_settings`` makes the settings again."""
    plain = pydantic.TypeAdapter(dict[str, Any]).dump_python(asdict(settings), mode="json")
    return {**plain, "taxonomy": taxonomy.to_dict(), "study": str(study)}


def read_settings(config: dict[str, Any], where: Path) -> RunSettings:
    """Return the settings of a run of the first stage; arguments and errors as ``read_any_settings``."""
    settings = read_any_settings(config, where)
    if isinstance(settings, SegmentSettings):
        raise RunError(f"{where.parent} is a segmenter; this needs a run of the first stage")
    return settings


def read_any_settings(config: dict[str, Any], where: Path) -> RunSettings | SegmentSettings:
    """Return the settings of a run's ``config.yaml``; arguments and errors as ``merge_settings``.

    Raises:
        RunError: if the folder only holds figures of somebody's masks.
    """
    if "masks" in config:
        raise RunError(f"{where.parent} holds figures of masks that were made elsewhere; there is no model to use")
    plain = {key: value for key, value in config.items() if key not in ("taxonomy", "study")}
    if plain.get("method") == SEGMENTER:
        return merge_segment_settings(SegmentSettings(source=""), plain, where)
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
    plain = _merged(asdict(base), changes, where, ())
    model = _validated(type(base.model), plain.pop("model"), where, "model.")
    # any model of the right form takes the place of the own one while the rest is validated
    settings: RunSettings = _validated(RunSettings, {**plain, "model": base.model}, where, "")
    return replace(settings, model=model)


def merge_segment_settings(base: SegmentSettings, changes: dict[str, Any], where: Path) -> SegmentSettings:
    """Return settings of the second stage with some values changed; arguments and errors as ``merge_settings``."""
    settings: SegmentSettings = _validated(SegmentSettings, _merged(asdict(base), changes, where, ()), where, "")
    return settings


def read_changes(file: Path) -> dict[str, Any]:
    """Return the content of a YAML file of settings.

    Raises:
        ConfigError: if it is missing or no table of settings.
    """
    if not file.is_file():
        raise ConfigError(f"{file}: no such settings file")
    try:
        changes = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{file} is not valid YAML: {error}") from None
    if not isinstance(changes, dict):
        raise ConfigError(f"{file} holds no settings; write them like a run's config.yaml")
    return {name: value for name, value in changes.items() if name not in ("taxonomy", "study")}


def given_changes(flags: dict[tuple[str, ...], Any]) -> dict[str, Any]:
    """Return the flags that were given (are not None) as nested settings."""
    changes: dict[str, Any] = {}
    for path, value in flags.items():
        if value is not None:
            inner = changes
            for part in path[:-1]:
                inner = inner.setdefault(part, {})
            inner[path[-1]] = value
    return changes


def _validated(kind: Any, plain: dict[str, Any], where: Path, prefix: str) -> Any:
    try:
        return pydantic.TypeAdapter(kind).validate_python(plain)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = prefix + ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{where}: {place}: {first['msg'].lower()}, not {first['input']!r}") from None


def _merged(base: dict[str, Any], changes: dict[str, Any], where: Path, path: tuple[str, ...]) -> dict[str, Any]:
    for name, value in changes.items():
        if name not in base:
            place = ".".join((*path, str(name)))
            raise ConfigError(f"{where}: there is no setting {place}; here there are {', '.join(base)}")
        if isinstance(base[name], dict) and not isinstance(value, dict):
            raise ConfigError(f"{where}: {'.'.join((*path, name))} needs settings below it, not {value!r}")
    return base | {
        name: _merged(base[name], value, where, (*path, name)) if isinstance(base[name], dict) else value
        for name, value in changes.items()
    }
