"""The confusion matrices of a zero-shot classification, side by side in one picture for papers and slides."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from histoproto.reports.drawings import STYLE
from histoproto.reports.figures import short_count

TINT = "#2a6f97"
"""Colour of the squares, as strong as the share of their row."""
DOTS_PER_INCH = 200


def write_confusions(
    path: Path, confusions: Mapping[str, Sequence[Sequence[int]]], classes: Sequence[str], title: str
) -> None:
    """Write a PNG with one matrix per kind of prompt, each square with percent of its row and patches.

    Args:
        path: the picture.
        confusions: by the panel's title, counts of patches, rows truth, columns answer.
        classes: class names.
        title: of the whole picture.
    """
    with mpl.rc_context(STYLE):
        size = (len(confusions) * (0.9 + 0.68 * len(classes)), 1.2 + 0.58 * len(classes))
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(1, len(confusions), squeeze=False)[0]
        for axes, (name, confusion) in zip(panels, confusions.items(), strict=True):
            _draw(axes, np.asarray(confusion, dtype=np.int64), classes, name)
        figure.suptitle(title, fontsize=10)
        figure.savefig(path, format="png", dpi=DOTS_PER_INCH, facecolor="white")


def _draw(
    axes: Axes, counts: "np.ndarray[tuple[int, int], np.dtype[np.int64]]", classes: Sequence[str], name: str
) -> None:
    totals = counts.sum(1)
    for row, column in np.ndindex(counts.shape):
        share = counts[row, column] / max(totals[row], 1)
        axes.add_patch(Rectangle((column - 0.47, row - 0.46), 0.94, 0.92, facecolor=TINT, alpha=0.06 + 0.6 * share))
        percent = f"{share:.0%}" if totals[row] else "n/a"
        axes.text(column, row - 0.1, percent, ha="center", va="center", fontsize=11)
        axes.text(column, row + 0.24, short_count(int(counts[row, column])), ha="center", va="center", fontsize=8)
    turned = 30 if max(map(len, classes)) > 8 else 0
    axes.set_xticks(range(len(classes)), classes, rotation=turned, ha="right" if turned else "center")
    axes.set_yticks(range(len(classes)), classes)
    edge = len(classes) - 0.5
    axes.set(xlim=(-0.5, edge), ylim=(edge, -0.5), title=name, xlabel="answer", ylabel="true class")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
