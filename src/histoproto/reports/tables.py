"""The page's tables as rows for CSV files: full precision, blank where there is no value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from histoproto.reports.comparison import Comparison
from histoproto.reports.lead import lead_of
from histoproto.reports.published import MEASURES, Published, PublishedRow
from histoproto.reports.reading import RunContents

NOT_COLUMNS = ("per_class", "per_image", "confusion", "interval")
"""Parts of a result that have a table of their own, or columns of another name."""


@dataclass(frozen=True)
class Table:
    """A table for machines."""

    name: str
    """Of its file, without ending."""
    about: str
    """What it holds, in words."""
    rows: Sequence[dict[str, Any]]


def tables_of(contents: RunContents) -> list[Table]:
    """Return all tables of a run; one that has no rows is left out."""
    lead = lead_of(contents)
    judged = contents.evaluation.get("classification", {})
    tables = [
        Table(
            "figures_by_gate", "figures under every gate, background rule and way to make the masks", _by_gate(contents)
        ),
        Table("figures_by_class", f"figures of each class; {lead.words}", _by_class(contents)),
        Table("labels_by_class", "which tissues an image holds: figures of the gate", _labels(judged)),
        Table("gate_reliability", "reliability curve of the gate", judged.get("reliability", [])),
        Table("coverage_precision", "what is right among the surest pixels of each class", _coverage(contents)),
        Table("confusion_matrix", f"pixels, rows truth, columns prediction; {lead.words}", _confusion(contents)),
        Table("slides_worst_first", f"figures of each slide or patient; {lead.words}", _groups(contents)),
        Table("missing_masks", "images without a predicted mask", _missing(contents)),
        Table("predicted_areas", "tissue in predicted slides", _areas(contents)),
        Table("data_splits", "patches that the run was trained and judged on", _splits(contents)),
        Table("training_curves", "losses of each epoch", contents.epochs),
    ]
    return [table for table in tables if table.rows]


def tables_of_comparison(comparison: Comparison) -> list[Table]:
    """Return the methods with their trainings, and the tests between them."""
    told = comparison.told
    arms = [
        {
            "method": arm["name"],
            "gate": told.get("rule", {}).get(arm["name"], ""),
            "trainings": len(arm["by_run"]),
            "miou": arm["miou"],
            **_ends("groups", arm["interval"]),
            **_ends("seeds", arm["interval_over_seeds"]),
        }
        for arm in told["arms"]
    ]
    runs = [
        {"method": arm["name"], "run": run, "miou": score}
        for arm in told["arms"]
        for run, score in zip(arm["runs"], arm["by_run"], strict=True)
    ]
    tests = [{**row, **_ends("groups", row["interval"])} for row in told["differences"]]
    for row in tests:
        row.pop("interval")
    return [
        Table("comparison_methods", "mean IoU of each method, with intervals over groups and over seeds", arms),
        Table("comparison_seeds", "mean IoU of each training", runs),
        Table("comparison_tests", "differences from the first method, p-values also corrected by Holm's rule", tests),
        Table("comparison_patches", "mean IoU of each image under one run of each method", _patches(comparison)),
    ]


def table_of_published(published: Published, ours: Sequence[PublishedRow]) -> Table:
    """Return published figures beside ours, one row per method and table."""
    rows = [
        {
            "method": row.method,
            "where": row.where,
            "variant": row.variant,
            "stage": row.stage,
            **{key: cell for measure in MEASURES for key, cell in _cells(row, measure).items()},
            **row.protocol,
            "protocol_read_in_code": int(row.from_code),
            "ours": int(row.ours),
        }
        for row in (*ours, *published.rows)
    ]
    return Table("published_figures", f"published figures on {published.dataset} beside ours, percent", rows)


def _cells(row: PublishedRow, measure: str) -> dict[str, Any]:
    cell = row.cells.get(measure)
    if cell is None:
        return dict.fromkeys((measure, f"{measure}_sd", f"{measure}_status", f"{measure}_note"))
    return {
        measure: cell.percent,
        f"{measure}_sd": cell.sd,
        f"{measure}_status": cell.status,
        f"{measure}_note": cell.note,
    }


def _by_gate(contents: RunContents) -> list[dict[str, Any]]:
    evaluation = contents.evaluation
    ways = {"main": evaluation.get("results", {}), **evaluation.get("variants", {})}
    return [
        {
            "variant": variant,
            "gate": gate,
            "background": background,
            **{name: value for name, value in figures.items() if name not in NOT_COLUMNS},
            **{f"{name}_mean_over_images": value for name, value in figures.get("per_image", {}).items()},
            **{
                key: end for name, ends in figures.get("interval", {}).items() for key, end in _ends(name, ends).items()
            },
        }
        for variant, gates in ways.items()
        for gate, rules in gates.items()
        for background, figures in rules.items()
    ]


def _by_class(contents: RunContents) -> list[dict[str, Any]]:
    lead = lead_of(contents)
    return [
        {"class": name, **figures, **_ends("iou", lead.ends(f"iou[{name}]"))}
        for name, figures in lead.figures.get("per_class", {}).items()
    ]


def _labels(judged: dict[str, Any]) -> list[dict[str, Any]]:
    rows = [{"class": name, **figures} for name, figures in judged.get("per_class", {}).items()]
    return [*rows, *([{"class": "mean", **judged["mean"]}] if judged.get("mean") else [])]


def _coverage(contents: RunContents) -> list[dict[str, Any]]:
    return [
        {"keep": row["keep"], "class": name, **figures}
        for row in contents.evaluation.get("confidence", [])
        for name, figures in [("all", {key: row[key] for key in ("kept", "precision")}), *row["per_class"].items()]
    ]


def _confusion(contents: RunContents) -> list[dict[str, Any]]:
    names = [*contents.taxonomy.classes, "background"]
    matrix = lead_of(contents).figures.get("confusion", [])
    if not matrix:
        return []
    return [{"truth": truth, **dict(zip(names, row, strict=True))} for truth, row in zip(names, matrix, strict=True)]


def _groups(contents: RunContents) -> list[dict[str, Any]]:
    return [{"group": group.name, "images": group.images, **group.figures} for group in contents.worst_first]


def _missing(contents: RunContents) -> list[dict[str, Any]]:
    return [{"image": name} for name in contents.evaluation.get("missing", [])]


def _areas(contents: RunContents) -> list[dict[str, Any]]:
    return [
        {"slide": slide.name, "class": name, **figures}
        for slide in contents.slides
        for name, figures in slide.areas.items()
    ]


def _splits(contents: RunContents) -> list[dict[str, Any]]:
    return [
        {
            "split": name,
            "patches": split.get("patches"),
            "groups": split.get("groups"),
            **{f"patches_with_{label}": count for label, count in split.get("per_class", {}).items()},
        }
        for name, split in contents.record.get("splits", {}).items()
    ]


def _patches(comparison: Comparison) -> list[dict[str, Any]]:
    names = [name for name, _ in comparison.shown]
    return [
        {
            "image": same[0].name,
            "group": same[0].group,
            **{name: example.miou for name, example in zip(names, same, strict=True)},
        }
        for same in zip(*(contents.examples for _, contents in comparison.shown), strict=True)
    ]


def _ends(name: str, ends: Sequence[float] | None) -> dict[str, float | None]:
    low, high = (None, None) if ends is None else (ends[0], ends[1])
    return {f"{name}_low": low, f"{name}_high": high}
