"""The cells of a sweep: every combination of choices, merged, checked, and ready to be made into steps."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

import pydantic

from histoproto.backbones.registry import is_backbone
from histoproto.banks.settings import BankSettings
from histoproto.encoders.registry import HUB, PRETRAINED, UNTRAINED
from histoproto.errors import ConfigError
from histoproto.presets.changes import merge_settings
from histoproto.presets.registry import preset_settings
from histoproto.presets.settings import RunSettings
from histoproto.sweeps.definition import Change, Definition, merged

HELPER = "helper"
"""Encoder name: the backbone of the sweep's helper run."""
GIVEN = "given"
"""Weights that no hub has: the user names them with --weights."""
BANK_FIELDS = tuple(entry.name for entry in fields(BankSettings) if entry.name != "seed")


@pydantic.dataclasses.dataclass(frozen=True, config=pydantic.ConfigDict(extra="forbid"))
class Asking:
    """Arguments of ``histoproto zeroshot``."""

    encoder: str
    encoder_weights: str | None = None
    prompts: Literal["text", "image"] = "image"
    sentence: str | None = None
    """The one sentence of each class, with ``{title}`` in it; None for the sentences shipped for the classes."""
    per_class_limit: int | None = None


@dataclass(frozen=True)
class Cell:
    """One combination of choices; with a seed it is one run."""

    labels: tuple[str, ...]
    """The chosen label of each axis."""
    method: str = ""
    """Empty where an encoder is asked instead of a method trained."""
    preset: str = "corrected"
    settings: dict[str, Any] = field(default_factory=dict)
    """Changes of the preset, in the form of a run's ``config.yaml``."""
    bank: dict[str, Any] | None = None
    """``encoder``, ``encoder_weights`` and the fields of ``BankSettings`` but its seed."""
    zeroshot: dict[str, Any] | None = None
    published: dict[str, str] | None = field(default_factory=dict)
    """Columns of ``published.csv`` that tell this cell's figures; None where there are none."""

    @property
    def name(self) -> str:
        """The labels in a row."""
        return " + ".join(self.labels)

    @property
    def slug(self) -> str:
        """The name as a folder's name."""
        return re.sub(r"[^\w.=-]+", "-", self.name).strip("-")

    @property
    def asking(self) -> Asking:
        """What is asked of an encoder; only where ``zeroshot`` is set."""
        asking: Asking = pydantic.TypeAdapter(Asking).validate_python(self.zeroshot)
        return asking

    def run_settings(self, where: str) -> RunSettings:
        """Return all settings of the run but its seed and its bank.

        Raises:
            ConfigError: if a setting does not exist or has a wrong value.
        """
        return merge_settings(preset_settings(self.method, self.preset), self.settings, Path(where))

    @property
    def encoders(self) -> set[str]:
        """The encoders that the cell names."""
        named = {(self.bank or {}).get("encoder"), (self.zeroshot or {}).get("encoder")}
        return {str(name) for name in (*named, self._own_encoder) if name is not None}

    @property
    def _own_encoder(self) -> str | None:
        name = self.settings.get("encoder", {}).get("name")
        return None if name in ("bank", "self", "none") else name

    def changed(self, change: Change) -> "Cell":
        """Return the cell with changes of its ``settings``, ``bank`` or ``zeroshot``."""
        parts = {part: merged(getattr(self, part), own) for part, own in change.items()}
        return replace(
            self,
            settings=parts.get("settings", self.settings),
            bank=parts.get("bank", self.bank),
            zeroshot=parts.get("zeroshot", self.zeroshot),
        )

    def with_encoder(self, name: str, weights: str | None = None) -> "Cell":
        """Return the cell with another encoder wherever it names one."""
        change: Change = {
            part: {"encoder": name, "encoder_weights": weights}
            for part in ("bank", "zeroshot")
            if getattr(self, part) is not None
        }
        if self._own_encoder:
            change["settings"] = {"encoder": {"name": name, "weights": weights}}
        return self.changed(change)


def cells_of(definition: Definition, *, tiny: bool = False) -> list[Cell]:
    """Return all cells as the file has them.

    Args:
        definition: the file.
        tiny: change the cells by their ``tiny`` sections, and leave out those that say ``tiny: false``.

    Raises:
        ConfigError: if a cell is neither a method nor a question, or two cells have one name.
    """
    found: dict[str, Cell] = {}
    for labels in product(*(choices for choices in definition.axes.values())):
        changes = [definition.axes[axis][label] or {} for axis, label in zip(definition.axes, labels, strict=True)]
        if tiny and any(change.get("tiny") is False for change in changes):
            continue
        cell = _cell(labels, [definition.base, *changes], definition.name, tiny=tiny)
        if cell.slug in found:
            raise ConfigError(
                f"{definition.name}: {cell.name} and {found[cell.slug].name} would share one folder; rename one"
            )
        found[cell.slug] = cell
    if not found:
        raise ConfigError(f"{definition.name}: no cell is left with --tiny; leave --tiny out")
    if len({bool(cell.zeroshot) for cell in found.values()}) > 1:
        raise ConfigError(f"{definition.name}: some cells train and some ask with zeroshot; make two sweeps of them")
    return list(found.values())


def helper_of(definition: Definition, *, tiny: bool = False) -> Cell:
    """Return the run whose backbone is the encoder ``helper``."""
    return _cell((HELPER,), [definition.helper], definition.name, tiny=tiny)


def check_cell(cell: Cell, where: str) -> None:
    """Check everything about a cell that can be known before anything is loaded.

    Raises:
        ConfigError: in one sentence that names the cell and the first thing wrong with it.
    """
    place = f"{where}: {cell.name}"
    if cell.bank is not None:
        _check_bank(cell.bank, place)
    if cell.zeroshot is not None:
        _validated(Asking, cell.zeroshot, f"{place}: zeroshot")
    else:
        settings = cell.run_settings(place)
        if settings.encoder.name == "bank" and cell.bank is None:
            raise ConfigError(f"{place}: {cell.method} starts from an image bank; add bank: {{encoder: NAME}}")
        for backbone in (settings.backbone, settings.teacher):
            if backbone is not None and backbone.name not in ("self", "none") and not is_backbone(backbone.name):
                raise ConfigError(f"{place}: unknown backbone {backbone.name!r}; docs/backbones.md lists them")
    for name in cell.encoders:
        if not _is_encoder(name):
            raise ConfigError(f"{place}: unknown encoder {name!r}; histoproto doctor --encoders lists them")


def _cell(labels: tuple[str, ...], changes: list[Change], name: str, *, tiny: bool) -> Cell:
    whole: Change = {}
    for change in changes:
        whole = merged(whole, change)
    small = whole.pop("tiny", None)
    if tiny and small:
        whole = merged(whole, small)
    if bool(whole.get("method")) == bool(whole.get("zeroshot")):
        raise ConfigError(f"{name}: {' + '.join(labels)}: give it either a method to train or zeroshot to ask")
    for key in ("settings", "bank", "zeroshot"):
        if not isinstance(whole.get(key, {}), dict | None):
            raise ConfigError(f"{name}: {' + '.join(labels)}: {key} needs settings below it, not {whole[key]!r}")
    published = whole.pop("published", {})
    if whole.get("zeroshot") and whole.get("bank") is not None:  # the bank looks through the encoder that is asked
        whole["bank"] = {"encoder": whole["zeroshot"].get("encoder"), **whole["bank"]}
    return Cell(labels, **whole, published=None if published is False else published or {})


def _check_bank(bank: dict[str, Any], place: str) -> None:
    for key in bank:
        if key not in (*BANK_FIELDS, "encoder", "encoder_weights"):
            raise ConfigError(
                f"{place}: bank: there is no {key}; there is encoder, encoder_weights, {', '.join(BANK_FIELDS)}"
            )
    if not isinstance(bank.get("encoder"), str):
        raise ConfigError(f"{place}: bank: name its encoder, as in bank: {{encoder: plip}}")
    _validated(BankSettings, {key: value for key, value in bank.items() if key in BANK_FIELDS}, f"{place}: bank")


def _validated(kind: Any, plain: Any, place: str) -> None:
    try:
        pydantic.TypeAdapter(kind).validate_python(plain)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        spot = ".".join(str(part) for part in first["loc"][:1])
        raise ConfigError(f"{place}: {spot}: {first['msg'].lower()}, not {first['input']!r}") from None


def _is_encoder(name: str) -> bool:
    known = name == HELPER or name in UNTRAINED or name in PRETRAINED or is_backbone(name)
    return known or name.startswith((HUB, "run:")) or Path(name).exists() or name in _plugins()


def _plugins() -> Iterator[str]:
    from importlib.metadata import entry_points

    from histoproto.encoders.registry import PLUGINS

    return (plugin.name for plugin in entry_points(group=PLUGINS))
