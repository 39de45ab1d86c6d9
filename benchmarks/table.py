"""Print the figures of several evaluated runs, their mean and standard deviation, as a Markdown table.

usage: python benchmarks/table.py RUN [RUN ...]; runs of one name up to the seed are averaged.
"""

import json
import re
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

WHOLE = ("epoch", "seconds")


def figures(run: Path) -> dict[str, Any]:
    """Return a run's predicted-gate figures, background ignored, with its other gates and its training time."""
    results = json.loads((run / "eval" / "metrics.json").read_text())["results"]
    record = json.loads((run / "run.json").read_text())
    extra = next((key for key in results["predicted"]["ignored"] if key.startswith("miou[")), "miou")
    row = {gate: results[gate]["ignored"][extra] for gate in ("predicted", "none", "oracle")}
    per_class = {name: values["iou"] for name, values in results["predicted"]["ignored"]["per_class"].items()}
    counted = results["predicted"]["counted"][extra]
    boundary = results["predicted"]["ignored"]["biou_0.02"]
    return {
        **row,
        "counted": counted,
        "bIoU 2 %": boundary,
        **per_class,
        "epoch": record["best_epoch"],
        "seconds": record["seconds"],
    }


def main() -> None:
    """Read the runs named on the command line and print the table."""
    runs = [Path(argument) for argument in sys.argv[1:]]
    groups: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for run in runs:
        groups.setdefault(re.sub(r"-?\d+$", "", run.name), []).append((run.name, figures(run)))
    columns = list(next(iter(groups.values()))[0][1])
    sys.stdout.write(f"| run | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}\n")
    for name, rows in groups.items():
        for run_name, row in rows:
            sys.stdout.write(f"| {run_name} | {' | '.join(_number(column, row[column]) for column in columns)} |\n")
        cells = [_summary(column, [row[column] for _, row in rows]) for column in columns]
        sys.stdout.write(f"| **{name}, mean** | {' | '.join(cells)} |\n")


def _number(column: str, value: float) -> str:
    return f"{value:.0f}" if column in WHOLE else f"{value:.3f}"


def _summary(column: str, values: list[float]) -> str:
    """Return the mean, with the sample's standard deviation where figures are scores of several runs."""
    if column in WHOLE or len(values) < 2:
        return _number(column, mean(values))
    return f"{mean(values):.3f} ± {stdev(values):.3f}"


main()
