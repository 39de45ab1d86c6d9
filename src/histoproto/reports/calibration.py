"""The reliability curve of the gate: how often a tissue is there when the model says that it is."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from histoproto.reports.drawings import FIRST, RULE, STYLE, TEXT, Drawing


def reliability_curve(bins: Sequence[dict[str, Any]]) -> Drawing:
    """Return claimed probability against what is true, with the number of answers in each bin below.

    Args:
        bins: rows of ``classification.reliability``: ``from``, ``to``, ``claimed``, ``true``, ``images``.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.6, 4.0), layout="constrained")
        curve, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        curve.plot([0, 1], [0, 1], color=TEXT, linewidth=0.8, linestyle=":")
        curve.annotate(
            "as claimed", (0.97, 0.93), ha="right", va="top", rotation=45, fontsize=8, rotation_mode="anchor"
        )
        claimed, true = [row["claimed"] for row in bins], [row["true"] for row in bins]
        curve.vlines(claimed, claimed, true, color=RULE, linewidth=3)
        curve.plot(claimed, true, color=FIRST, linewidth=1.6, marker="o", markersize=4.5)
        curve.set(xlim=(0, 1), ylim=(0, 1.03), ylabel="is there", aspect="auto")
        curve.set_title("How often a tissue is there")
        most = max(row["images"] for row in bins)
        for row in bins:
            middle = (row["from"] + row["to"]) / 2
            counts.bar(middle, row["images"], width=0.9 * (row["to"] - row["from"]), color=FIRST, alpha=0.45)
            counts.text(middle, row["images"] + 0.04 * most, f"{row['images']:,}", ha="center", va="bottom", fontsize=7)
        counts.set(ylim=(0, 1.3 * most), xlabel="claimed probability", ylabel="answers", yticks=[])
        for axes in (curve, counts):
            axes.xaxis.set_major_formatter(PercentFormatter(1))
            axes.tick_params(length=0)
        curve.yaxis.set_major_formatter(PercentFormatter(1))
        curve.grid(visible=True)
        return Drawing("gate_reliability", "Reliability curve of the gate: claimed probability against truth", figure)
