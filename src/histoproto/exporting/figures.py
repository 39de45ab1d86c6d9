"""The figures of a run that its model card may show: those of the very model that is exported, never the oracle's."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from histoproto.errors import RunError
from histoproto.inference.gate import Gate
from histoproto.runs import RunFolder

HONEST = "predicted"
"""The gate that a user of the model has, too."""


class Figure(NamedTuple):
    """One number between 0 and 1, and how far off it could be."""

    value: float | None
    """None where the split cannot say."""
    interval: tuple[float, float] | None

    def __str__(self) -> str:
        if self.value is None:
            return "n/a"
        low_high = "" if self.interval is None else f" ({self.interval[0]:.3f} to {self.interval[1]:.3f})"
        return f"{self.value:.3f}{low_high}"


class Figures(NamedTuple):
    """What an evaluation found."""

    split: str
    images: int
    resampled: str
    """What the intervals draw anew, and how many there are."""
    rows: dict[str, dict[str, Figure]]
    """By what happens to white background (``ignored``, ``counted``) and measure."""
    refine: str
    val_tuned: bool
    """Whether validation masks chose the checkpoint."""


MEASURES = {"miou": "mIoU", "fwiou": "FwIoU", "dice": "Dice", "biou_0.02": "boundary IoU (2 %)"}


def figures_of(run: RunFolder, checkpoint: str, gate: Gate, variant: str | None) -> Figures | str:
    """Return the figures of an exported model, or a sentence why there are none.

    Args:
        run: its run folder.
        checkpoint: which one is exported.
        gate: that of the run.
        variant: a way to make the masks beside the run's own, a key of ``variants``; None for the run's own.

    Raises:
        RunError: if the evaluation cannot be read.
    """
    file = run.path / "eval" / "metrics.json"
    if not file.is_file():
        return "This model has not been evaluated."
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if found["checkpoint"] != checkpoint or found["gate"]["thresholds"] != list(gate.thresholds):
            return "This model has not been evaluated; figures that its run holds belong to another checkpoint or gate."
        results = found["results"] if variant is None else found["variants"].get(variant)
        if results is None:
            return "This model has not been evaluated in the form in which it was exported."
        unit = found["uncertainty"]
        return Figures(
            found["split"],
            results[HONEST]["ignored"]["images"],
            f"{unit['number']} {unit['resampled']}",
            {rule: _row(figures) for rule, figures in results[HONEST].items()},
            "none" if variant else found["refine"],
            found["choose_by"] == "validation-masks" or bool(run.read_record().get("val_tuned")),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{file} cannot be read ({error!r}); evaluate the run again: histoproto evaluate {run.path}"
        ) from None


def _row(figures: Mapping[str, Any]) -> dict[str, Figure]:
    intervals = figures.get("interval", {})

    def figure(value: float | None, key: str) -> Figure:
        ends = intervals.get(key)
        return Figure(value, None if ends is None else (ends[0], ends[1]))

    means = {title: figure(figures[key], key) for key, title in MEASURES.items()}
    return means | {f"IoU {name}": figure(own["iou"], f"iou[{name}]") for name, own in figures["per_class"].items()}
