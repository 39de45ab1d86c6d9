"""What ``evaluate`` leaves in a run folder, and how it is read again.

::

    eval/metrics.json     all figures
    eval/counts.parquet   pixel counts of each image under each rule, from which every figure can be made again
    eval/images.csv       one row per image: files and figures
    eval/groups.csv       one row per slide or patient
"""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from histoproto.atomic import replacing, write_json
from histoproto.errors import RunError
from histoproto.evaluation.comparison import EvaluatedRun
from histoproto.evaluation.split_counts import Rule, SplitCounts
from histoproto.metrics.counts import PixelCounts
from histoproto.metrics.summary import means, measures, plain
from histoproto.runs import RunFolder

SCHEMA = "histoproto/metrics/1"


def write_products(
    run: Path, metrics: dict[str, Any], counts: SplitCounts, files: Sequence[dict[str, Any]], lead: Rule
) -> None:
    """Write all four files; the figures come last.

    Args:
        run: run folder.
        metrics: content of ``metrics.json``.
        counts: of every image.
        files: columns of ``images.csv`` that name files, one row for each image.
        lead: rule of the figures in ``images.csv`` and ``groups.csv``.
    """
    folder, classes = run / "eval", metrics["classes"]
    counts.write(folder / "counts.parquet")
    of_images = _columns(counts.counts[lead], classes)
    rows = [
        {**row, "group": image.group, **figures}
        for row, image, figures in zip(files, counts.images, of_images, strict=True)
    ]
    _write_rows(folder / "images.csv", rows)
    members = list(counts.groups)
    _write_rows(
        folder / "groups.csv",
        [
            {"group": group, "images": members.count(group), **figures}
            for group, figures in zip(dict.fromkeys(members), _columns(counts.by_group(lead), classes), strict=True)
        ],
    )
    write_json(folder / "metrics.json", metrics)


def read_evaluated(run: Path) -> EvaluatedRun:
    """Return a run with the counts of its evaluation.

    Raises:
        RunError: if it is no run, was not evaluated, or its files cannot be read.
    """
    config = RunFolder(run).read_config()
    file = run / "eval" / "metrics.json"
    if not file.is_file():
        raise RunError(f"{run} has not been evaluated; do so with: histoproto evaluate {run}")
    try:
        metrics = json.loads(file.read_text(encoding="utf-8"))
        classes = tuple(metrics["classes"])
        counts = SplitCounts.read(run / "eval" / "counts.parquet", len(classes))
        return EvaluatedRun(
            run,
            str(config.get("method")),
            metrics["seed"],
            metrics["split"],
            classes,
            counts,
            metrics.get("refine", "unknown"),
        )
    except (ValueError, KeyError) as error:
        raise RunError(f"{file} cannot be read ({error}); evaluate the run again") from None


def _columns(counts: PixelCounts, classes: Sequence[str]) -> list[dict[str, str]]:
    """Return figures of each of the stacked counts as table cells, blank where there is none."""
    columns = {**means(counts), **{f"iou_{name}": measures(counts)["iou"][:, i] for i, name in enumerate(classes)}}
    return [{name: _cell(plain(values[index])) for name, values in columns.items()} for index in range(len(counts))]


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
