"""Drawings of the training and of the confusion matrix."""

import re
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from histoproto.reports.drawings import FIRST, SECOND, STYLE, TEXT, Drawing

NOT_TERMS = ("epoch", "step", "lr", "loss", "holdout_loss", "seconds")
"""Columns of ``metrics.csv`` that are no summand of the loss."""


def training_curves(epochs: Sequence[dict[str, float]], best_epoch: int | None) -> list[Drawing]:
    """Return one drawing for the total and the holdout loss, and one for each further column.

    Args:
        epochs: rows of ``metrics.csv``; a missing value leaves a gap.
        best_epoch: marked by a dotted line.
    """
    terms = [column for column in dict.fromkeys(c for row in epochs for c in row) if column not in NOT_TERMS]
    panels = [("loss", ["loss", "holdout_loss"]), *((term, [term]) for term in terms)]
    return [_curves(title, columns, epochs, best_epoch) for title, columns in panels]


def confusion_picture(
    confusion: Sequence[Sequence[int]], row_names: Sequence[str], column_names: Sequence[str]
) -> Drawing:
    """Return the matrix as squares tinted by the share of their row, with percent and pixels.

    Args:
        confusion: pixel counts, rows truth, columns prediction.
        row_names: names of the true classes.
        column_names: names of the predicted classes.
    """
    counts = np.asarray(confusion, dtype=np.int64)
    totals = counts.sum(1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    height, width = counts.shape
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(0.9 + 0.68 * width, 0.7 + 0.58 * height), layout="constrained")
        axes = figure.add_subplot()
        for row, column in np.ndindex(counts.shape):
            share = float(shares[row, column])
            tint = Rectangle((column - 0.47, row - 0.46), 0.94, 0.92, facecolor=FIRST, alpha=0.06 + 0.6 * share)
            axes.add_patch(tint)
            percent = f"{share:.0%}" if totals[row] else "n/a"
            axes.text(column, row - 0.1, percent, ha="center", va="center", fontsize=11)
            axes.text(column, row + 0.24, short_count(int(counts[row, column])), ha="center", va="center", fontsize=8)
        turned = 30 if max(map(len, column_names)) > 8 else 0
        axes.set_xticks(range(width), column_names, rotation=turned, ha="left" if turned else "center")
        axes.set_yticks(range(height), row_names)
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xlabel="predicted class", ylabel="true class")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        return Drawing("confusion_matrix", f"Confusion matrix of {', '.join(row_names)}", figure)


def short_count(count: int) -> str:
    """Return a count in at most five characters, for example ``12.3k``."""
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= 0.9995 * unit:
            return f"{count / unit:.3g}{name}"
    return str(count)


def _curves(title: str, columns: Sequence[str], epochs: Sequence[dict[str, float]], best: int | None) -> Drawing:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.6, 2.3), layout="constrained")
        axes = figure.add_subplot()
        at = [row.get("epoch", index + 1) for index, row in enumerate(epochs)]
        for column, colour, name in zip(columns, (FIRST, SECOND), ("training", "held out"), strict=False):
            values = [row.get(column, np.nan) for row in epochs]
            if not np.isnan(values).all():
                dots = "o" if len(values) < 3 else None
                axes.plot(at, values, color=colour, linewidth=1.6, marker=dots, label=name)
        _dress(axes, title.replace("_", " "), best, legend=len(columns) > 1)
        return Drawing(f"training_{re.sub(r'[^A-Za-z0-9_-]+', '_', title)}", f"{title} per epoch", figure)


def _dress(axes: Axes, title: str, best: int | None, *, legend: bool) -> None:
    if best is not None:
        axes.axvline(best, color=TEXT, linewidth=0.8, linestyle=":")
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.grid(visible=True, axis="y")
    axes.tick_params(length=0)
    if legend and axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper right")
