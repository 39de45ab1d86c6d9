"""What the finished cells say: every figure of every seed, and means over seeds."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from histoproto.sweeps.cells import Cell

NOT_APPLICABLE = "not applicable"
"""Gate and background of a figure that is about patches, not pixels."""
NOT_MEASURES = ("per_class", "n_images", "support_px")


class Figure(NamedTuple):
    """One figure of one cell with one seed."""

    cell: str
    seed: int | None
    """None where nothing is trained."""
    gate: str
    background: str
    measure: str
    """``miou``, ``dice``, ``biou_0.02``, or one of a class as in ``iou[TUM]``."""
    value: float | None
    """Percent; None where there is nothing to measure."""


class Spread(NamedTuple):
    """A mean over seeds."""

    mean: float
    sd: float | None
    """Sample standard deviation; None for one seed, or where nobody says."""
    seeds: int | None


def read_figures(cell: Cell, seed: int, folder: Path) -> list[Figure]:
    """Return all figures of a finished cell; none where it is not finished."""
    if cell.zeroshot is not None:
        file = folder / "zeroshot.json"
        return _of_patches(cell.name, _read(file)) if file.is_file() else []
    file = folder / "eval" / "metrics.json"
    return _of_pixels(cell.name, seed, _read(file)) if file.is_file() else []


def spread(figures: Iterable[Figure], cell: str, gate: str, background: str, measure: str) -> Spread | None:
    """Return the mean over seeds of one figure of a cell; None where no seed has it."""
    wanted = (cell, gate, background, measure)
    values = [
        figure.value
        for figure in figures
        if (figure.cell, figure.gate, figure.background, figure.measure) == wanted and figure.value is not None
    ]
    return _spread(values) if values else None


def _spread(values: Sequence[float]) -> Spread:
    return Spread(mean(values), stdev(values) if len(values) > 1 else None, len(values))


def _read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def _of_pixels(cell: str, seed: int, metrics: dict[str, Any]) -> list[Figure]:
    found = []
    for gate, rules in metrics["results"].items():
        for background, figures in rules.items():
            plain = {name: value for name, value in figures.items() if _is_share(name, value)}
            for label, own in figures["per_class"].items():
                plain |= {f"{name}[{label}]": value for name, value in own.items() if _is_share(name, value)}
            found += [Figure(cell, seed, gate, background, name, _percent(value)) for name, value in plain.items()]
    return found


def _of_patches(cell: str, record: dict[str, Any]) -> list[Figure]:
    found = []
    for result in record["results"].values():
        figures = {"f1": result["macro_f1"]} | {f"f1[{name}]": own["f1"] for name, own in result["per_class"].items()}
        found += [
            Figure(cell, None, NOT_APPLICABLE, NOT_APPLICABLE, name, _percent(value)) for name, value in figures.items()
        ]
    return found


def _is_share(name: str, value: Any) -> bool:
    return name not in NOT_MEASURES and (value is None or isinstance(value, float))


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
