"""The table at the end of a sweep: ours and the published figures of the same experiment, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from histoproto.published.reader import PublishedFigure, Status, read_published
from histoproto.sweeps.cells import Cell
from histoproto.sweeps.definition import Definition
from histoproto.sweeps.gather import NOT_APPLICABLE, Figure, Spread, spread


class Column(NamedTuple):
    """One measure of ours."""

    heading: str
    gate: str
    background: str
    measure: str
    wide: bool = False
    """Whether it stands in the files alone, where there is room."""


class PublishedColumn(NamedTuple):
    """One measure of theirs."""

    heading: str
    measure: str
    wide: bool = False


PIXELS = (
    Column("mIoU", "predicted", "ignored", "miou"),
    Column("mIoU, oracle", "oracle", "counted", "miou"),
    Column("FwIoU", "predicted", "ignored", "fwiou", wide=True),
    Column("bIoU 2 %", "predicted", "ignored", "biou_0.02", wide=True),
    Column("Dice", "predicted", "ignored", "dice", wide=True),
)
PUBLISHED_PIXELS = (
    PublishedColumn("mIoU", "miou"),
    PublishedColumn("FwIoU", "fwiou", wide=True),
    PublishedColumn("bIoU", "biou", wide=True),
    PublishedColumn("Dice", "dice", wide=True),
)
PATCHES = (Column("F1", NOT_APPLICABLE, NOT_APPLICABLE, "f1"),)
PUBLISHED_PATCHES = (PublishedColumn("F1", "f1"),)

MARKS: dict[Status, tuple[str, str]] = {
    "ok": ("", ""),
    "copied": ("c", "copied by its source from another paper"),
    "inferred": ("i", "inferred from printed figures"),
    "typo": ("t", "a misprint"),
    "impossible": (
        "x",
        "no pooled confusion matrix gives this Dice, which is the formula 200 mIoU / (100 + mIoU) or above",
    ),
}


@dataclass(frozen=True)
class Row:
    """One setting, ours or published alone."""

    label: str
    ours: tuple[Spread | None, ...]
    """By column; all None where only others have it."""
    published: tuple[PublishedFigure | None, ...]
    """By published column."""
    figures: tuple[PublishedFigure, ...] = ()
    """All published figures of this setting, those without a column too."""


@dataclass(frozen=True)
class Table:
    """All that is shown, in whatever form."""

    title: str
    columns: tuple[Column, ...]
    published_columns: tuple[PublishedColumn, ...]
    """Those in which there is anything."""
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    """Under which protocol each figure was made, and what marks mean."""


def make_table(
    definition: Definition,
    cells: Sequence[Cell],
    figures: Sequence[Figure],
    dataset: str | None,
    remarks: Sequence[str],
) -> Table:
    """Return the table of a sweep, finished or not.

    Args:
        definition: what is compared.
        cells: one row each.
        figures: what they gave so far.
        dataset: whose published figures stand beside; None for none.
        remarks: notes about ours, first under the table.
    """
    asks = bool(cells[0].zeroshot)
    columns = PATCHES if asks else PIXELS
    pool = _pool(definition, dataset)
    rows = [_row(cell, figures, columns, pool, asks) for cell in cells]
    shown = {figure.key for row in rows for figure in row.figures}
    rest: dict[tuple[str, str, str], list[PublishedFigure]] = {}
    for figure in pool:
        if figure.key not in shown:
            rest.setdefault((figure.method, figure.table, figure.variant), []).append(figure)
    several = len({figure.table for figure in pool}) > 1
    for (method, table, variant), own in rest.items():
        named = [method] if several or variant == "main" else []
        label = " ".join([*named, *([variant] if variant != "main" else [])])
        label = f"{label} ({table})" if several else label
        rows.append(Row(label, (None,) * len(columns), _theirs(own, asks), tuple(own)))
    notes = (*remarks, *_protocols(rows), *_legend(rows))
    kept = [place for place, _ in enumerate(_published_columns(asks)) if any(row.published[place] for row in rows)]
    rows = [replace(row, published=tuple(row.published[place] for place in kept)) for row in rows]
    theirs = tuple(_published_columns(asks)[place] for place in kept)
    return Table(definition.about, columns, theirs, tuple(rows), notes)


def text_of(value: Spread | None) -> str:
    """Return a mean over seeds in words."""
    if value is None:
        return "–"
    return f"{value.mean:.2f}" if value.sd is None else f"{value.mean:.2f} ± {value.sd:.2f}"


def published_text(figure: PublishedFigure | None) -> tuple[str, str]:
    """Return a published figure in words, and its mark."""
    if figure is None:
        return "–", ""
    if figure.value is None:
        return "?", ""
    text = f"{figure.value:.2f}" if figure.measure != "f1" else f"{figure.value:.1f}"
    return text if figure.sd is None else f"{text} ± {figure.sd:.1f}", MARKS[figure.status][0]


def _published_columns(asks: bool) -> tuple[PublishedColumn, ...]:
    return PUBLISHED_PATCHES if asks else PUBLISHED_PIXELS


def _pool(definition: Definition, dataset: str | None) -> list[PublishedFigure]:
    if definition.published is None or dataset is None:
        return []
    tables = definition.published.tables
    found = [figure for figure in read_published() if figure.table in tables and figure.dataset == dataset]
    return sorted(found, key=lambda figure: tables.index(figure.table))


def _row(
    cell: Cell, figures: Sequence[Figure], columns: Sequence[Column], pool: Sequence[PublishedFigure], asks: bool
) -> Row:
    ours = tuple(spread(figures, cell.name, column.gate, column.background, column.measure) for column in columns)
    own: list[PublishedFigure] = []
    if cell.published is not None:
        wanted = cell.published or {"variant": cell.name}
        own = [figure for figure in pool if all(getattr(figure, key) == value for key, value in wanted.items())]
    return Row(cell.name, ours, _theirs(own, asks), tuple(own))


def _theirs(figures: Sequence[PublishedFigure], asks: bool) -> tuple[PublishedFigure | None, ...]:
    by_measure = {figure.measure: figure for figure in reversed(figures)}
    return tuple(by_measure.get(column.measure) for column in _published_columns(asks))


def _protocols(rows: Sequence[Row]) -> list[str]:
    """Return one note for each table and protocol among the published figures."""
    said = dict.fromkeys((figure.table, figure.protocol) for row in rows for figure in row.figures)
    together: dict[str, list[str]] = {}
    for table, protocol in said:
        together.setdefault(protocol, []).append(table)
    return [f"Published, {', '.join(tables)}: {protocol}." for protocol, tables in together.items()]


def _legend(rows: Sequence[Row]) -> list[str]:
    figures = [figure for row in rows for figure in row.published if figure is not None]
    used = [MARKS[status] for status in MARKS if any(figure.status == status for figure in figures)]
    marks = [f"{mark}: {words}" for mark, words in used if mark]
    if any(figure.value is None for figure in figures):
        marks.append("?: published, but not known to us")
    return [f"Marks: {'; '.join(marks)}. docs/published.csv has a note on each."] if marks else []
