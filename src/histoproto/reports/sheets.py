"""Sheets of pictures in rows under headings, for papers and slides."""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from histoproto.reports.drawings import STYLE, TEXT, Drawing
from histoproto.reports.pictures import Picture
from histoproto.taxonomy import Colour

SIDE_INCH, GAP_INCH, LINE_INCH, CHIP_INCH = 1.35, 0.07, 0.22, 0.1
LETTERS_PER_INCH = 15
"""Of a row's title; longer ones lose their middle."""


class SheetRow(NamedTuple):
    """Pictures of one patch."""

    title: str
    notes: Sequence[str]
    """One below each picture; may be empty."""
    pictures: Sequence[Picture]


def sheet(
    name: str,
    description: str,
    headings: Sequence[str],
    rows: Sequence[SheetRow],
    legend: Sequence[tuple[str, Colour]] = (),
) -> Drawing:
    """Return rows of pictures, each under its title; a picture that cannot be drawn leaves a gap.

    Args:
        name: of the files.
        description: what is shown.
        headings: one for each column.
        rows: the pictures.
        legend: what colours mean, below.
    """
    lines = [2 if any(row.notes) else 1 for row in rows]
    width = len(headings) * (SIDE_INCH + GAP_INCH) + GAP_INCH
    places = _legend_places([words for words, _ in legend], width)
    below = LINE_INCH * (1 + max((line for _, line in places), default=-1))
    height = LINE_INCH + sum(SIDE_INCH + LINE_INCH * line for line in lines) + GAP_INCH + below
    with mpl.rc_context({**STYLE, "font.size": 8}):
        figure = Figure(figsize=(width, height))
        top = height - LINE_INCH
        for column, heading in enumerate(headings):
            figure.text(_left(column) / width, (top + 0.06) / height, heading, weight="bold")
        for row, line in zip(rows, lines, strict=True):
            title = shortened(row.title, int(width * LETTERS_PER_INCH))
            figure.text(GAP_INCH / width, (top - LINE_INCH + 0.06) / height, title)
            top -= LINE_INCH + SIDE_INCH
            for column, picture in enumerate(row.pictures):
                box = (_left(column) / width, top / height, SIDE_INCH / width, SIDE_INCH / height)
                if picture.image is not None:
                    axes = figure.add_axes(box)
                    axes.imshow(np.asarray(picture.image.convert("RGB")), interpolation="none")
                    axes.set_axis_off()
                if row.notes:
                    figure.text(box[0], (top - LINE_INCH + 0.08) / height, row.notes[column])
            top -= LINE_INCH * (line - 1)
        for (words, colour), (left, line) in zip(legend, places, strict=True):
            bottom = (below - LINE_INCH * (line + 1) + 0.06) / height
            size = (CHIP_INCH / width, CHIP_INCH / height)
            chip = Rectangle(
                (left / width, bottom),
                *size,
                facecolor=[channel / 255 for channel in colour],
                edgecolor=TEXT,
                linewidth=0.4,
                transform=figure.transFigure,
            )
            figure.add_artist(chip)
            figure.text((left + 1.6 * CHIP_INCH) / width, bottom, words)
        return Drawing(name, description, figure)


def shortened(text: str, letters: int) -> str:
    """Return a text that keeps its beginning and its end, where names of patches differ."""
    if len(text) <= letters:
        return text
    half = (letters - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def _legend_places(words: Sequence[str], width: float) -> list[tuple[float, int]]:
    """Return how far from the left, in inches, and on which line each word of a legend begins."""
    places: list[tuple[float, int]] = []
    left, line = GAP_INCH, 0
    for text in words:
        needed = 3 * CHIP_INCH + len(text) / LETTERS_PER_INCH
        if left > GAP_INCH and left + needed > width:
            left, line = GAP_INCH, line + 1
        places.append((left, line))
        left += needed
    return places


def _left(column: int) -> float:
    return GAP_INCH + column * (SIDE_INCH + GAP_INCH)
