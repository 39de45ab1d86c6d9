"""Sweep files: YAML in, a checked ``Definition`` out. ``docs/sweeps.md`` explains the form to its users."""

from dataclasses import field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pydantic
import yaml

from histoproto.errors import ConfigError
from histoproto.published.reader import read_published

Change = dict[str, Any]
"""What a choice sets: keys ``method``, ``preset``, ``settings``, ``bank``, ``zeroshot``, ``published``, ``tiny``."""
CHANGES = ("method", "preset", "settings", "bank", "zeroshot", "published", "tiny")
FOLDER = Path(__file__).parent / "shipped"
SUFFIXES = (".yaml", ".yml")

_CONFIG = pydantic.ConfigDict(extra="forbid", coerce_numbers_to_str=True)


@pydantic.dataclasses.dataclass(frozen=True, config=_CONFIG)
class PublishedChoice:
    """Whose figures stand beside ours."""

    tables: tuple[str, ...]
    """Names in the column ``table`` of ``docs/published.csv``."""


@pydantic.dataclasses.dataclass(frozen=True, config=_CONFIG)
class Definition:
    """What a sweep file says."""

    about: str
    """One sentence: what is compared."""
    axes: dict[str, dict[str, Change | None]]
    """For each axis its choices by label; the cells are all combinations of one choice of each axis."""
    base: Change = field(default_factory=dict)
    """What all cells share."""
    helper: Change = field(default_factory=lambda: {"method": "cam"})
    """A run trained first, whose backbone is the encoder ``helper``."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of every cell, unless --seeds says otherwise."""
    split: str = "test"
    """The split that is evaluated."""
    published: PublishedChoice | None = None
    """Published figures of the same experiment, if there are any."""
    name: str = ""
    """The file's name without its ending."""


_DEFINITION = pydantic.TypeAdapter(Definition)


def shipped_sweeps() -> dict[str, Path]:
    """Return the sweep files that come with the package, by name."""
    return {file.stem: file for file in sorted(FOLDER.glob("*.yaml"))}


def read_sweep(source: str) -> Definition:
    """Read a sweep.

    Args:
        source: name of a shipped sweep, or path of a YAML file.

    Raises:
        ConfigError: if there is no such sweep, or the file holds something else.
    """
    file = _find(source)
    try:
        held = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(held, dict) or "axes" not in held:
        raise ConfigError(f"{file} is no sweep: it needs about and axes; docs/sweeps.md shows one")
    try:
        definition = _DEFINITION.validate_python({**held, "name": file.stem})
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"{file} is no sweep: {place}: {first['msg'].lower()}, not {first['input']!r}; docs/sweeps.md shows one"
        ) from None
    _check(definition, file)
    return definition


def merged(base: Change, change: Change) -> Change:
    """Return ``base`` with values replaced, mapping by mapping; neither is changed."""
    both = {name: merged(base[name], value) for name, value in change.items() if _mappings(base.get(name), value)}
    return {**base, **change, **both}


def _mappings(*values: Any) -> bool:
    return all(isinstance(value, dict) for value in values)


def _find(source: str) -> Path:
    shipped = shipped_sweeps()
    if source in shipped:
        return shipped[source]
    if Path(source).suffix in SUFFIXES:
        if not Path(source).is_file():
            raise ConfigError(f"{source}: no such sweep file; histoproto sweep --list names the shipped ones")
        return Path(source)
    close = get_close_matches(source, shipped, n=1)
    hint = f" did you mean {close[0]}?" if close else ""
    raise ConfigError(f"unknown sweep {source!r};{hint} there is {', '.join(shipped)}, or any FILE.yaml")


def _check(definition: Definition, file: Path) -> None:
    if not definition.axes or not all(definition.axes.values()):
        raise ConfigError(f"{file} is no sweep: axes needs at least one axis with at least one choice")
    if not definition.seeds or len(set(definition.seeds)) < len(definition.seeds):
        raise ConfigError(f"{file}: seeds {list(definition.seeds)}: name at least one, and each once")
    known = {figure.table for figure in read_published()}
    for table in definition.published.tables if definition.published else ():
        if table not in known:
            raise ConfigError(f"{file}: published.tables: there is no {table!r}; there is {', '.join(sorted(known))}")
    _check_keys(definition, file)


def _check_keys(definition: Definition, file: Path) -> None:
    changes = {"base": definition.base, "helper": definition.helper}
    for axis, choices in definition.axes.items():
        changes |= {f"axes.{axis}.{label}": change or {} for label, change in choices.items()}
    for place, change in changes.items():
        for key in change:
            if key not in CHANGES:
                raise ConfigError(f"{file}: {place}: there is no {key}; there is {', '.join(CHANGES)}")
