"""The report of a run: everything on one HTML page that needs no network."""

from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from histoproto.reports import figures, pictures, wording
from histoproto.reports.examples import choose_examples
from histoproto.reports.reading import Example, PrototypeMap, RunContents, Slide

EXAMPLE_PX = 256
PROTOTYPE_PX = 160
SLIDE_PX = 1200
MOST_PROTOTYPE_MAPS = 48
MOST_SLIDES = 3
"""Sizes and numbers of pictures, so that the page stays below 8 MB."""

MEASURES = {
    "miou": "mIoU",
    "dice": "Dice",
    "fwiou": "FwIoU",
    "biou_0.02": "bIoU 2\u00a0%",
    "biou_0.005": "bIoU 0.5\u00a0%",
    "pixel_accuracy": "Pixel acc.",
}
"""Columns of the table over gates and background rules."""


def render(contents: RunContents) -> str:
    """Return the report as HTML."""
    environment = Environment(
        loader=PackageLoader("histoproto.reports"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"figure": wording.number, "duration": wording.duration}
    taxonomy = contents.taxonomy
    result = wording.honest_result(contents)
    return environment.get_template("report.html.j2").render(
        run=contents.path,
        title=_title(contents),
        config=contents.config,
        record=contents.record,
        taxonomy=taxonomy,
        legend=list(zip(taxonomy.classes, taxonomy.titles, taxonomy.colours, strict=True)),
        ignore_colour=pictures.IGNORE_COLOUR,
        summary=wording.summary(contents),
        measures=_measures(contents.evaluation),
        gates=_gates(contents.evaluation),
        honest=wording.HONEST,
        evaluation=contents.evaluation,
        result=result,
        total_px=sum(entry.get("support_px", 0) for entry in result.get("per_class", {}).values()),
        classification=contents.evaluation.get("classification", {}).get("per_class", {}),
        confusion=_confusion(contents, result),
        curves=figures.training_curves(contents.epochs, contents.record.get("best_epoch")) if contents.epochs else [],
        examples=[
            (group.title, [_example(contents, example) for example in group.examples])
            for group in choose_examples(contents.examples)
        ],
        confidence_scale=pictures.scale(pictures.CONFIDENCE_COLOURS),
        activation_scale=pictures.scale(pictures.ACTIVATION_COLOURS),
        prototypes=_prototypes(contents.prototypes),
        prototypes_shown=min(len(contents.prototypes), MOST_PROTOTYPE_MAPS),
        prototypes_all=len(contents.prototypes),
        slides=[_slide(slide) for slide in contents.slides[:MOST_SLIDES]],
        slides_all=len(contents.slides),
    )


def _title(contents: RunContents) -> str:
    method = str(contents.config.get("method", "unknown method"))
    return f"{method.upper() if method.islower() and len(method) <= 4 else method} on {contents.taxonomy.name}"


def _gates(evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of the table over gates and background rules, in the order of ``wording.GATES``."""
    results = evaluation.get("results", {})
    return [
        {"key": gate, "title": title, "meaning": meaning, "rows": results[gate]}
        for gate, (title, meaning) in wording.GATES.items()
        if gate in results
    ]


def _confusion(contents: RunContents, result: dict[str, Any]) -> str:
    """Return the picture of the matrix; a row or column of background where nothing is counted is left out."""
    matrix = result.get("confusion")
    if not matrix:
        return ""
    names = [*contents.taxonomy.classes, "white"][: len(matrix)]
    classes = len(contents.taxonomy)
    rows = [place for place, row in enumerate(matrix) if place < classes or any(row)]
    columns = [place for place in range(len(matrix)) if place < classes or any(row[place] for row in matrix)]
    shown = [[matrix[row][column] for column in columns] for row in rows]
    return figures.confusion_picture(shown, [names[row] for row in rows], [names[column] for column in columns])


def _example(contents: RunContents, example: Example) -> dict[str, Any]:
    return {
        "name": example.name,
        "miou": example.miou,
        "pictures": {
            "image": pictures.photograph(example.image, EXAMPLE_PX),
            "truth": pictures.mask(example.truth, contents.taxonomy, EXAMPLE_PX),
            "prediction": pictures.mask(example.prediction, contents.taxonomy, EXAMPLE_PX),
            "confidence": pictures.confidence(example.confidence, EXAMPLE_PX),
        },
    }


def _prototypes(maps: list[PrototypeMap]) -> list[tuple[str, list[tuple[int, list[pictures.Picture]]]]]:
    """Return the maps as (class, (prototype, pictures)), classes in the order of the file."""
    shown = maps[:MOST_PROTOTYPE_MAPS]
    order = list(dict.fromkeys(entry.class_name for entry in shown))
    ranked = sorted(shown, key=lambda entry: (order.index(entry.class_name), entry.prototype))
    return [
        (
            name,
            [
                (number, _activations(list(same)))
                for number, same in groupby(of_class, key=lambda entry: entry.prototype)
            ],
        )
        for name, of_class in groupby(ranked, key=lambda entry: entry.class_name)
    ]


def _activations(maps: list[PrototypeMap]) -> list[pictures.Picture]:
    """Return the maps of one prototype on one common scale."""
    low, high = pictures.value_range([entry.file for entry in maps])
    return [pictures.activation(entry.file, entry.image, PROTOTYPE_PX, low, high) for entry in maps]


def _measures(evaluation: dict[str, Any]) -> dict[str, str]:
    """Return the table's columns; a mean over chosen classes (``miou[a,b]``) stands beside the mean over all."""
    figures_of_all = [row for rules in evaluation.get("results", {}).values() for row in rules.values()]
    chosen = {key: f"mIoU {key[5:-1]}" for row in figures_of_all for key in row if key.startswith("miou[")}
    return {"miou": MEASURES["miou"], **chosen, **MEASURES}


def _slide(slide: Slide) -> dict[str, Any]:
    columns = list(dict.fromkeys(key for row in slide.areas.values() for key in row))
    return {
        "name": slide.name,
        "overlay": pictures.photograph(slide.overlay, SLIDE_PX),
        "columns": columns,
        "areas": slide.areas,
    }
