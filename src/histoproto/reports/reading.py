"""What a run folder holds for its report; whatever has not been made yet is empty, never an error."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histoproto.errors import RunError
from histoproto.runs import RunFolder
from histoproto.taxonomy import Taxonomy


@dataclass(frozen=True)
class Example:
    """One evaluated image, a row of ``eval/images.csv``."""

    name: str
    image: Path
    truth: Path
    prediction: Path
    confidence: Path | None
    """None where masks were made elsewhere."""
    miou: float | None
    """Mean IoU under the leading gate with background ignored; None where the truth has no tissue."""
    group: str = ""
    """Slide or patient."""


@dataclass(frozen=True)
class Group:
    """A slide or patient, a row of ``eval/groups.csv``."""

    name: str
    images: int
    figures: dict[str, float]
    """Pooled over its images: ``miou``, ``dice``, ``iou_<class>``, ...; a class that its truth has not is left out."""


@dataclass(frozen=True)
class PrototypeMap:
    """Where one prototype fires on one patch."""

    image: Path
    class_name: str
    prototype: int
    """Number of the prototype, from 0."""
    file: Path
    """Grey activation map."""


@dataclass(frozen=True)
class PseudoMask:
    """What a segmenter was taught about one training patch."""

    image: Path
    mask: Path
    confidence: Path


@dataclass(frozen=True)
class Slide:
    """A predicted slide or large image, a folder of ``predictions/``."""

    name: str
    areas: dict[str, dict[str, Any]]
    """By class name: any figures with units in their names, for example ``pixels``, ``share``, ``area_mm2``."""
    overlay: Path


@dataclass(frozen=True)
class RunContents:
    """Everything a report is made of."""

    path: Path
    taxonomy: Taxonomy
    config: dict[str, Any]
    record: dict[str, Any]
    epochs: list[dict[str, float]]
    """Rows of ``metrics.csv``; a cell that is blank or no number is left out."""
    evaluation: dict[str, Any]
    examples: list[Example]
    groups: list[Group]
    compared: list[str]
    """Runs of the comparison that ``evaluate --compare`` left, this one among them."""
    prototypes: list[PrototypeMap]
    slides: list[Slide]
    pseudo_masks: list[PseudoMask]
    """Of the training patches that a segmenter learned from; empty for every other run."""

    @property
    def segmenter(self) -> bool:
        """Whether this is a run of the second stage."""
        return self.config.get("method") == "segmenter"

    @property
    def foreign(self) -> bool:
        """Whether the masks were made by another program."""
        return "masks" in self.config

    @property
    def worst_first(self) -> list[Group]:
        """Slides or patients by their mean IoU, those without tissue last."""
        return sorted(self.groups, key=lambda group: (group.figures.get("miou", 2.0), group.name))


def read_run(path: Path) -> RunContents:
    """Read a run folder.

    Raises:
        RunError: if the folder is no run, or a file that exists cannot be parsed.
        ConfigError: if its taxonomy is incomplete.
    """
    run = RunFolder(path)
    config = run.read_config()
    if "taxonomy" not in config:
        raise RunError(f"{run.config_file} has no taxonomy; restore it or train again")
    return RunContents(
        path=path,
        taxonomy=Taxonomy.from_dict(config["taxonomy"]),
        config=config,
        record=_json(run.record_file, {}),
        epochs=[_numbers(row) for row in _rows(run.metrics_file)],
        evaluation=_json(path / "eval" / "metrics.json", {}),
        examples=[_example(path, row) for row in _rows(path / "eval" / "images.csv")],
        groups=[_group(path, row) for row in _rows(path / "eval" / "groups.csv")],
        compared=[
            run for arm in _json(path / "eval" / "comparison.json", {}).get("arms", []) for run in arm.get("runs", [])
        ],
        prototypes=[_prototype(path, entry) for entry in _json(path / "eval" / "prototypes.json", [])],
        slides=[
            Slide(file.parent.name, _json(file, {}).get("areas", {}), file.parent / "overlay.png")
            for file in sorted((path / "predictions").glob("*/areas.json"))
        ],
        pseudo_masks=[_pseudo_mask(path, row) for row in _rows(path / "pseudo_masks" / "manifest.csv")],
    )


def _pseudo_mask(run: Path, row: dict[str, str]) -> PseudoMask:
    """Return a row of the manifest; masks are looked for inside the run, which may have been moved."""
    folder = run / "pseudo_masks"
    try:
        names = Path(row["mask"]).name, Path(row["confidence"]).name
        return PseudoMask(Path(row["image"]), folder / names[0], folder / "confidence" / names[1])
    except KeyError as key:
        raise RunError(f"{folder / 'manifest.csv'} has no column {key}; make the masks again") from None


def _json(file: Path, absent: Any) -> Any:
    if not file.is_file():
        return absent
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{file} is not valid JSON ({error}); make it again or delete it") from None
    if not isinstance(content, type(absent)):
        raise RunError(f"{file} holds {type(content).__name__} instead of {type(absent).__name__}; make it again")
    return content


def _rows(file: Path) -> list[dict[str, str]]:
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def _numbers(row: dict[str, str]) -> dict[str, float]:
    numbers = {}
    for column, text in row.items():
        number = _number(text)
        if number is not None:
            numbers[column] = number
    return numbers


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _example(run: Path, row: dict[str, str]) -> Example:
    try:
        return Example(
            name=row["name"],
            image=run / row["image"],
            truth=run / row["truth"],
            prediction=run / row["prediction"],
            confidence=run / row["confidence"] if row["confidence"] else None,
            miou=_number(row["miou"]),
            group=row.get("group") or "",
        )
    except KeyError as column:
        raise RunError(f"{run / 'eval' / 'images.csv'} has no column {column}; evaluate the run again") from None


def _group(run: Path, row: dict[str, str]) -> Group:
    try:
        figures = {name: text for name, text in row.items() if name not in ("group", "images")}
        return Group(row["group"], int(row["images"]), _numbers(figures))
    except (KeyError, ValueError) as error:
        raise RunError(f"{run / 'eval' / 'groups.csv'} cannot be read ({error}); evaluate the run again") from None


def _prototype(run: Path, entry: dict[str, Any]) -> PrototypeMap:
    try:
        return PrototypeMap(
            run / entry["image"], str(entry["class"]), int(entry["prototype"]), run / "eval" / entry["file"]
        )
    except KeyError as key:
        raise RunError(f"{run / 'eval' / 'prototypes.json'} has no entry {key}; evaluate the run again") from None
