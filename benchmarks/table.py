"""Print the figures of several evaluated runs, and their mean, as a Markdown table.

usage: python benchmarks/table.py RUN [RUN ...]; runs of one name up to the seed are averaged.
"""

import json
import re
import sys
from pathlib import Path
from statistics import mean
from typing import Any


def figures(run: Path) -> dict[str, Any]:
    """Return a run's predicted-gate figures, background ignored, with its other gates and its training time."""
    results = json.loads((run / "eval" / "metrics.json").read_text())["results"]
    record = json.loads((run / "run.json").read_text())
    extra = next((key for key in results["predicted"]["ignored"] if key.startswith("miou[")), "miou")
    row = {gate: results[gate]["ignored"][extra] for gate in ("predicted", "none", "oracle")}
    per_class = {name: values["iou"] for name, values in results["predicted"]["ignored"]["per_class"].items()}
    counted = results["predicted"]["counted"][extra]
    return {**row, "counted": counted, **per_class, "epoch": record["best_epoch"], "seconds": record["seconds"]}


def main() -> None:
    """Read the runs named on the command line and print the table."""
    runs = [Path(argument) for argument in sys.argv[1:]]
    groups: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for run in runs:
        groups.setdefault(re.sub(r"-?\d+$", "", run.name), []).append((run.name, figures(run)))
    columns = list(next(iter(groups.values()))[0][1])
    sys.stdout.write(f"| run | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}\n")
    for name, rows in groups.items():
        for run_name, row in [*rows, (f"**{name}, mean**", {c: mean(r[c] for _, r in rows) for c in columns})]:
            cells = [
                f"{row[column]:.0f}" if column in ("epoch", "seconds") else f"{row[column]:.3f}" for column in columns
            ]
            sys.stdout.write(f"| {run_name} | {' | '.join(cells)} |\n")


main()
