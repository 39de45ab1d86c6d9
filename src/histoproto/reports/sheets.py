"""Sheets of pictures in rows under headings, for papers and slides."""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from histoproto.reports.drawings import STYLE, Drawing
from histoproto.reports.pictures import Picture

SIDE_INCH, GAP_INCH, LINE_INCH = 1.35, 0.07, 0.22
LETTERS_PER_INCH = 15
"""Of a row's title; longer ones lose their middle."""


class SheetRow(NamedTuple):
    """Pictures of one patch."""

    title: str
    notes: Sequence[str]
    """One below each picture; may be empty."""
    pictures: Sequence[Picture]


def sheet(name: str, description: str, headings: Sequence[str], rows: Sequence[SheetRow]) -> Drawing:
    """Return rows of pictures, each under its title; a picture that cannot be drawn leaves a gap.

    Args:
        name: of the files.
        description: what is shown.
        headings: one for each column.
        rows: the pictures.
    """
    lines = [2 if any(row.notes) else 1 for row in rows]
    width = len(headings) * (SIDE_INCH + GAP_INCH) + GAP_INCH
    height = LINE_INCH + sum(SIDE_INCH + LINE_INCH * line for line in lines) + GAP_INCH
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
        return Drawing(name, description, figure)


def shortened(text: str, letters: int) -> str:
    """Return a text that keeps its beginning and its end, where names of patches differ."""
    if len(text) <= letters:
        return text
    half = (letters - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def _left(column: int) -> float:
    return GAP_INCH + column * (SIDE_INCH + GAP_INCH)
