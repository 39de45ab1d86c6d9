"""Box plots over trainings: how much of a difference between methods is luck of the seed."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from histoproto.reports.drawings import FIRST, SECOND, STYLE, TEXT, Drawing
from histoproto.reports.sheets import shortened

FEWEST_FOR_A_BOX = 3
"""Quartiles of two trainings would be made up."""
NAME_LETTERS = 18
SPREAD = 0.12
"""How far apart dots of one method stand, so that equal ones can be told apart."""


def seed_boxes(arms: Sequence[dict[str, Any]]) -> Drawing:
    """Return one line per method: a dot per training, a box over them, and the interval over groups below.

    Args:
        arms: as ``eval/comparison.json`` holds them, the first one on top.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.8, 0.75 + 0.62 * len(arms)), layout="constrained")
        axes = figure.add_subplot()
        for place, arm in enumerate(arms):
            _line(axes, place, arm)
        axes.set_yticks(range(len(arms)), [shortened(str(arm["name"]), NAME_LETTERS) for arm in arms])
        axes.set(ylim=(len(arms) - 0.45, -0.55), xlabel="mean IoU")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid(visible=True, axis="x")
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        axes.spines["left"].set_visible(False)
        names = ", ".join(str(arm["name"]) for arm in arms)
        return Drawing("comparison_seeds", f"Mean IoU of each training of {names}", figure)


def _line(axes: Axes, place: int, arm: dict[str, Any]) -> None:
    scores = arm["by_run"]
    if len(scores) >= FEWEST_FOR_A_BOX:
        line = {"color": FIRST, "linewidth": 1.2}
        axes.boxplot(
            [scores],
            positions=[place],
            widths=0.42,
            orientation="horizontal",
            manage_ticks=False,
            showfliers=False,
            whis=(0, 100),
            boxprops=line,
            whiskerprops=line,
            capprops=line,
            medianprops={"color": FIRST, "linewidth": 2.4},
        )
    middle = (len(scores) - 1) / 2
    heights = [place + SPREAD * (index - middle) / max(middle, 1) for index in range(len(scores))]
    axes.scatter(scores, heights, s=18, color=FIRST, edgecolor=TEXT, linewidth=0.5, zorder=3)
    if arm["interval"] is not None:
        axes.hlines(place + 0.34, *arm["interval"], color=SECOND, linewidth=2)
