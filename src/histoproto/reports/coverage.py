"""Coverage against precision: what is gained by learning from the sure pixels of a mask alone."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from scipy.optimize import isotonic_regression

from histoproto.reports.drawings import STYLE, TEXT, Drawing, legible
from histoproto.reports.sheets import shortened
from histoproto.taxonomy import Taxonomy

TABLED = (1.0, 0.9, 0.8, 0.7, 0.5)
"""Shares that stand in the table."""
EXAMPLE = 0.8
"""The share of which the page says what it does and how to ask for it."""
MORE_THAN_ASKED = 0.005
"""From here on the table says that more pixels stay than were asked for."""
MARKERS = "osD^vP*X"
"""Beside colours, for those who cannot tell them apart."""
NAME_LETTERS = 12
LINE_OF_TEXT = 0.075
"""How far apart names stand, as a share of the drawing's height."""


class Kept(NamedTuple):
    """One cell of the table."""

    precision: float | None
    share: float | None
    """Of the pixels that stay, where that is more than asked; None elsewhere."""


class CoverageRow(NamedTuple):
    """One row of the table."""

    keep: float
    cells: list[Kept]
    """All classes together, then each."""


def coverage_curve(curve: Sequence[dict[str, Any]], taxonomy: Taxonomy) -> Drawing:
    """Return the share of pixels kept against the share of them that is right, one line for each class and for all.

    Args:
        curve: ``confidence`` of ``metrics.json``.
        taxonomy: classes and colours.
    """
    lines = [(name, [row["per_class"][name] for row in curve]) for name in taxonomy.classes]
    colours = [legible(colour) for colour in taxonomy.colours]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.4, 3.4), layout="constrained")
        axes = figure.add_subplot()
        ends: list[tuple[float, str, str, str]] = []
        for place, ((name, rows), colour) in enumerate(zip(lines, colours, strict=True)):
            if rows[0]["precision"] is not None:
                marker = MARKERS[place % len(MARKERS)]
                _line(axes, rows, color=colour, linewidth=1.6, marker=marker, markersize=4.5)
                ends.append((rows[0]["precision"], shortened(name, NAME_LETTERS), colour, marker))
        _line(axes, curve, color=TEXT, linewidth=2.4)
        ends.append((curve[0]["precision"], "all", TEXT, ""))
        _name(axes, ends)
        axes.set(xlabel="share of pixels kept", ylabel="share of them that is right")
        axes.set_title("Coverage against precision")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
            axis.set_major_formatter(FuncFormatter(lambda share, _: f"{round(100 * share, 6):g} %"))
        axes.tick_params(length=0)
        axes.grid(visible=True)
        axes.set_axisbelow(True)
        about = f"Share of pixels kept against precision, {', '.join(taxonomy.classes)} and all classes"
        return Drawing("coverage_precision", about, figure)


def coverage_rows(curve: Sequence[dict[str, Any]]) -> list[CoverageRow]:
    """Return the table: what is right of the pixels kept."""
    return [
        CoverageRow(row["keep"], [_cell(found, row["keep"]) for found in (row, *row["per_class"].values())])
        for row in curve
        if row["keep"] in TABLED
    ]


def coverage_words(curve: Sequence[dict[str, Any]]) -> str:
    """Return what confidence is worth, in a sentence; empty where nothing is known."""
    everything, some = (next((row for row in curve if row["keep"] == keep), None) for keep in (1.0, EXAMPLE))
    if everything is None or some is None or everything["precision"] is None:
        return ""
    return (
        f"{100 * everything['precision']:.1f} % of the pixels have the right tissue; of the surest {100 * EXAMPLE:g} % "
        f"of each class, {100 * some['precision']:.1f} % have."
    ).replace(" %", "\u00a0%")


def _cell(found: dict[str, Any], keep: float) -> Kept:
    share = found["kept"]
    return Kept(found["precision"], share if share is not None and share - keep > MORE_THAN_ASKED else None)


def _line(axes: Axes, rows: Sequence[dict[str, Any]], **style: Any) -> None:
    """Draw one line; rows that keep the same pixels are one point."""
    points = dict.fromkeys((row["kept"], row["precision"]) for row in rows)
    axes.plot(*zip(*points, strict=True), **style)


def _name(axes: Axes, ends: Sequence[tuple[float, str, str, str]]) -> None:
    """Write names right of the lines' ends, moved apart where they would cover each other."""
    low, high = axes.get_ylim()
    left, right = axes.get_xlim()
    ranked = sorted(ends)
    heights = spread([end[0] for end in ranked], LINE_OF_TEXT * (high - low))
    beside = 1 + 0.07 * (right - left)
    for height, (_, name, colour, marker) in zip(heights, ranked, strict=True):
        thick = 1.0 if marker else 2.4
        axes.plot(
            [beside], [height], color=colour, marker=marker or "_", markersize=5, markeredgewidth=thick, clip_on=False
        )
        axes.annotate(
            name, (beside, height), (6, 0), textcoords="offset points", va="center", fontsize=8.5, annotation_clip=False
        )
    axes.set(xlim=(left, 1 + 0.015 * (right - left)), ylim=(low, high))


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Return heights at least a gap apart, as little moved as can be (least squares).

    Args:
        heights: ascending.
        gap: smallest distance.
    """
    stack = gap * np.arange(len(heights))
    moved: list[float] = (isotonic_regression(np.array(heights) - stack).x + stack).tolist()
    return moved
