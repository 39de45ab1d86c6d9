"""The report of a run: everything on one HTML page that needs no network, and its parts for files."""

from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from histoproto.reports import boundary, figures, pictures, wording
from histoproto.reports.boxes import FEWEST_FOR_A_BOX, seed_boxes
from histoproto.reports.calibration import reliability_curve
from histoproto.reports.comparison import Comparison, caution
from histoproto.reports.coverage import EXAMPLE, coverage_curve, coverage_rows, coverage_words
from histoproto.reports.drawings import Drawing
from histoproto.reports.lead import GATES, Lead, lead_of, resampled, variant_words
from histoproto.reports.picture_rows import (
    MOST_PROTOTYPE_MAPS,
    PictureGroup,
    compared_rows,
    example_rows,
    prototype_rows,
    prototype_sheet,
    sheet_of,
    tissue_colours,
)
from histoproto.reports.pseudo_masks import pseudo_mask_rows, teaching_words
from histoproto.reports.published import MARKS, MEASURES, PROTOCOL, Published, our_rows
from histoproto.reports.reading import RunContents, Slide
from histoproto.reports.tables import Table, table_of_published, tables_of, tables_of_comparison
from histoproto.taxonomy import Taxonomy

SLIDE_PX = 1200
MOST_SLIDES = 3
MOST_GROUPS = 400
MOST_MISSING = 40
"""Sizes and numbers, so that the page stays below 8 MB."""

COLUMNS = {
    "miou": "mIoU",
    "dice": "Dice",
    "fwiou": "FwIoU",
    "biou_0.02": "bIoU 2\u00a0%",
    "biou_0.005": "bIoU 0.5\u00a0%",
    "pixel_accuracy": "Pixel acc.",
}
"""Columns of the table over gates and background rules."""
TILES = {
    "miou": "mean IoU",
    "dice": "mean Dice",
    "biou_0.02": "boundary IoU, 2\u00a0%",
    "pixel_accuracy": "pixel accuracy",
}
"""Leading figures."""
LABEL_COLUMNS = {"ap": "AP", "f1": "F1", "ece": "ECE", "brier": "Brier"}
"""Figures of the image-level question."""


@dataclass(frozen=True)
class Report:
    """A page and its parts."""

    html: str
    drawings: list[Drawing]
    tables: list[Table]


def compose(contents: RunContents, comparison: Comparison | None = None, published: Published | None = None) -> Report:
    """Return the report of a run.

    Args:
        contents: of the run.
        comparison: with other methods on the same images.
        published: figures of others on the same data set.
    """
    lead = lead_of(contents)
    curves = figures.training_curves(contents.epochs, contents.record.get("best_epoch")) if contents.epochs else []
    confusion = _confusion(contents, lead)
    bins = contents.evaluation.get("classification", {}).get("reliability", [])
    reliability = [reliability_curve(bins)] if bins else []
    confidence = contents.evaluation.get("confidence", [])
    coverage = [coverage_curve(confidence, contents.taxonomy)] if coverage_words(confidence) else []
    boxes = [seed_boxes(comparison.told["arms"])] if comparison else []
    examples = example_rows(contents)
    patches = compared_rows(comparison) if comparison else []
    prototypes = prototype_rows(contents.prototypes)
    taught = pseudo_mask_rows(contents)
    html = (
        _environment()
        .get_template("report.html.j2")
        .render(
            **_of_run(contents),
            **_of_figures(contents, lead),
            confusion=confusion,
            curves=curves,
            reliability=reliability,
            coverage=coverage,
            examples=examples,
            confidence_scale=pictures.scale(pictures.CONFIDENCE_COLOURS),
            activation_scale=pictures.scale(pictures.ACTIVATION_COLOURS),
            boundary=boundary,
            prototypes=prototypes,
            prototypes_shown=min(len(contents.prototypes), MOST_PROTOTYPE_MAPS),
            prototypes_all=len(contents.prototypes),
            taught=taught,
            teaching=teaching_words(contents),
            comparison=comparison,
            caution=caution(comparison.told) if comparison else "",
            boxes=boxes,
            patches=patches,
            others=[run for run in contents.compared if run != str(contents.path)],
            published=published,
            ours=our_rows(contents),
            published_measures=MEASURES,
            protocol=PROTOCOL,
            marks=MARKS,
        )
    )
    sheets = _sheets(contents.taxonomy, examples, patches, prototypes)
    tables = tables_of(contents)
    tables += tables_of_comparison(comparison) if comparison else []
    tables += [table_of_published(published, our_rows(contents))] if published else []
    return Report(html, [*confusion, *reliability, *coverage, *curves, *boxes, *sheets], tables)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("histoproto.reports"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "figure": wording.number,
        "ends": wording.ends,
        "signed_ends": wording.signed_ends,
        "p_value": wording.p_value,
        "probability": wording.probability,
        "duration": wording.duration,
    }
    return environment


def _of_run(contents: RunContents) -> dict[str, Any]:
    """Return what the page says about the run itself."""
    taxonomy = contents.taxonomy
    return {
        "run": contents.path,
        "title": _title(contents),
        "config": contents.config,
        "record": contents.record,
        "foreign": contents.foreign,
        "segmenter": contents.segmenter,
        "taxonomy": taxonomy,
        "legend": list(zip(taxonomy.classes, taxonomy.titles, taxonomy.colours, strict=True)),
        "ignore_colour": pictures.IGNORE_COLOUR,
        "summary": wording.summary(contents),
        "slides": [_slide(slide) for slide in contents.slides[:MOST_SLIDES]],
        "slides_all": len(contents.slides),
    }


def _of_figures(contents: RunContents, lead: Lead) -> dict[str, Any]:
    """Return what the page says about how good the masks are."""
    evaluation = contents.evaluation
    classification = evaluation.get("classification", {})
    missing = evaluation.get("missing", [])
    confidence = evaluation.get("confidence", [])
    return {
        "evaluation": evaluation,
        "lead": lead,
        "result": lead.figures,
        "tiles": TILES,
        "sure": wording.below_tiles(contents, lead),
        "columns": _columns(evaluation),
        "gates": _gates(evaluation, lead),
        "total_px": sum(own.get("support_px", 0) for own in lead.figures.get("per_class", {}).values()),
        "classification": classification.get("per_class", {}),
        "classification_mean": classification.get("mean", {}),
        "label_columns": LABEL_COLUMNS,
        "coverage_words": coverage_words(confidence),
        "coverage_rows": coverage_rows(confidence),
        "keep": EXAMPLE,
        "groups": contents.worst_first[:MOST_GROUPS],
        "groups_all": len(contents.groups),
        "groups_words": resampled(contents, len(contents.groups)) or f"{len(contents.groups):,} slides or patients",
        "boxed": FEWEST_FOR_A_BOX,
        "missing_masks": missing[:MOST_MISSING],
        "missing_all": len(missing),
    }


def _sheets(
    taxonomy: Taxonomy, examples: list[PictureGroup], patches: list[PictureGroup], prototypes: list[Any]
) -> list[Drawing]:
    tissues = tissue_colours(taxonomy)
    return [
        *sheet_of("examples", "best, median and worst patches", examples, [*tissues, *boundary.LEGEND]),
        *sheet_of("comparison_patches", "the same patches under each method", patches, tissues),
        *prototype_sheet(prototypes),
    ]


def _title(contents: RunContents) -> str:
    method = str(contents.config.get("method", "unknown method"))
    return f"{method.upper() if method.islower() and len(method) <= 4 else method} on {contents.taxonomy.name}"


def _gates(evaluation: dict[str, Any], lead: Lead) -> list[dict[str, Any]]:
    """Return the rows of the table over gates and background rules, then the leading gate in other variants."""
    results = evaluation.get("results", {})
    found = [
        {"key": gate, "way": "", "title": words.title, "meaning": words.meaning, "rows": results[gate]}
        for gate, words in GATES.items()
        if gate in results
    ]
    for way, gates in evaluation.get("variants", {}).items():
        if lead.gate in gates:
            words = variant_words(way, evaluation)
            title = f"{words.title}, {GATES[lead.gate].title.lower()}"
            found.append(
                {"key": lead.gate, "way": way, "title": title, "meaning": words.meaning, "rows": gates[lead.gate]}
            )
    return found


def _confusion(contents: RunContents, lead: Lead) -> list[Drawing]:
    """Return the picture of the matrix; a row or column of background where nothing is counted is left out."""
    matrix = lead.figures.get("confusion")
    if not matrix:
        return []
    names = [*contents.taxonomy.classes, "white"][: len(matrix)]
    classes = len(contents.taxonomy)
    rows = [place for place, row in enumerate(matrix) if place < classes or any(row)]
    columns = [place for place in range(len(matrix)) if place < classes or any(row[place] for row in matrix)]
    shown = [[matrix[row][column] for column in columns] for row in rows]
    return [figures.confusion_picture(shown, [names[row] for row in rows], [names[column] for column in columns])]


def _columns(evaluation: dict[str, Any]) -> dict[str, str]:
    """Return the table's columns; a mean over chosen classes (``miou[a,b]``) stands beside the mean over all."""
    figures_of_all = [row for rules in evaluation.get("results", {}).values() for row in rules.values()]
    chosen = {key: f"mIoU {key[5:-1]}" for row in figures_of_all for key in row if key.startswith("miou[")}
    return {"miou": COLUMNS["miou"], **chosen, **COLUMNS}


def _slide(slide: Slide) -> dict[str, Any]:
    columns = list(dict.fromkeys(key for row in slide.areas.values() for key in row))
    return {
        "name": slide.name,
        "overlay": pictures.photograph(slide.overlay, SLIDE_PX),
        "columns": columns,
        "areas": slide.areas,
    }
