"""The page about a run's prototypes: what each one stands for, on real tissue, and which do no work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from histoproto.reports import pictures
from histoproto.reports.explain_pictures import MOST_NUMBERS
from histoproto.reports.explain_wording import Caution, Prototype, by_advice
from histoproto.taxonomy import Taxonomy


@dataclass(frozen=True)
class Nearest:
    """A patch on which a prototype is strong."""

    picture: Image.Image
    """With the spot marked."""
    activation: float
    group: str
    labelled: bool
    """Whether the patch is labelled with the prototype's class."""
    path: Path
    spot: tuple[float, ...]
    """Left, top, right, bottom as shares of width and height."""


@dataclass(frozen=True)
class Row:
    """Everything about one prototype."""

    prototype: Prototype
    share: float | None
    highest: float
    lowest: float
    nearest: Sequence[Nearest]
    heats: Sequence[Image.Image]
    """Activation on the examples of its class."""


@dataclass(frozen=True)
class Explanation:
    """What the page shows."""

    run: str
    method: str
    split: str
    patches: int
    patches_all: int
    patch_um: float | None
    """Width of a patch; None where patches differ or nobody knows."""
    taxonomy: Taxonomy
    labelled: Sequence[int]
    """Patches labelled with each class."""
    rows: Sequence[Row]
    examples: Mapping[str, Sequence[Image.Image]]
    """Patches of each class on which activation is shown."""
    cautions: Sequence[Caution]
    cosine: Sequence[Sequence[float]]
    correlation: Sequence[Sequence[float]]
    dead_share: float
    alike: float


def render(explanation: Explanation) -> str:
    """Return the page as HTML that needs no network."""
    environment = Environment(
        loader=PackageLoader("histoproto.reports"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["embedded"] = pictures.embedded
    taxonomy = explanation.taxonomy
    return environment.get_template("explain.html.j2").render(
        page=explanation,
        legend=list(zip(taxonomy.classes, taxonomy.titles, taxonomy.colours, explanation.labelled, strict=True)),
        of_class={
            name: [row for row in explanation.rows if row.prototype.class_name == name] for name in taxonomy.classes
        },
        cautions=by_advice(explanation.cautions),
        marks=_marks(explanation),
        matrices=[
            ("Vectors", "cosine of the vectors", _cells(explanation.cosine, explanation.rows)),
            (
                "Activation maps",
                "correlation of the activation maps",
                _cells(explanation.correlation, explanation.rows),
            ),
        ],
        numbers=len(explanation.rows) <= MOST_NUMBERS,
        activation_scale=pictures.scale(pictures.ACTIVATION_COLOURS),
    )


def _marks(explanation: Explanation) -> dict[int, str]:
    """Return the word that stands beside a prototype, by its row; dead counts for more than duplicate."""
    ranked = sorted(explanation.cautions, key=lambda caution: caution.finding.kind == "dead")
    return {row: caution.finding.kind for caution in ranked for row in caution.finding.prototypes}


def _cells(values: Sequence[Sequence[float]], rows: Sequence[Row]) -> list[tuple[Row, list[dict[str, Any]]]]:
    """Return a matrix as rows of cells: value, tint (percent of a colour), and whether a class begins there."""
    begins = [
        index > 0 and row.prototype.class_name != rows[index - 1].prototype.class_name for index, row in enumerate(rows)
    ]
    return [
        (
            row,
            [
                {
                    "value": value,
                    "percent": round(75 * abs(value)),
                    "colour": "accent" if value >= 0 else "second",
                    "edge": " ".join(name for name, at in (("top", begins[place]), ("left", begins[column])) if at),
                    "pair": f"{row.prototype.name} and {rows[column].prototype.name}",
                }
                for column, value in enumerate(line)
            ],
        )
        for place, (row, line) in enumerate(zip(rows, values, strict=True))
    ]
