"""The table as files: CSV for machines, Markdown and LaTeX for texts, a chart for slides."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from histoproto.atomic import replacing, write_text
from histoproto.published.reader import PublishedFigure
from histoproto.sweeps.gather import Figure, Spread
from histoproto.sweeps.table import Row, Table, published_text, text_of

LONG = ("setting", "whose", "method", "table", "gate", "background", "measure", "mean", "sd", "seeds", "status", "note")
NOTE_LETTERS = 150
"""Of a line of notes under the chart."""
OURS, ORACLE, THEIRS = "#1f6f8b", "#9bbfca", "#c8553d"
GREEK = {"α": "alpha", "β": "beta", "δ": "delta", "θ": "theta", "λ": "lambda", "τ": "tau"}
"""Letters of the papers, by their names in LaTeX."""
STYLE: dict[Any, Any] = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "text.parse_math": False}


def write_table(folder: Path, table: Table, figures: Sequence[Figure]) -> list[Path]:
    """Write all files of a table and return where they are.

    Args:
        folder: the sweep's folder.
        table: what is shown.
        figures: every figure of every seed, for ``figures.csv``.
    """
    texts = {"table.md": markdown(table), "table.tex": latex(table)}
    for name, text in texts.items():
        write_text(folder / name, text)
    _write_rows(folder / "table.csv", LONG, _long(table))
    _write_rows(folder / "figures.csv", Figure._fields, map(_plain, figures))
    with replacing(folder / "table.png") as temporary:
        write_chart(temporary, table)
    return [folder / name for name in ("table.md", "table.tex", "table.csv", "table.png", "figures.csv")]


def markdown(table: Table) -> str:
    """Return the table in Markdown, with its notes below."""
    heading = ["", *(column.heading for column in table.columns), *_published_headings(table)]
    lines = [f"# {table.title}", "", _pipes(heading), _pipes(["---", *["---:"] * (len(heading) - 1)])]
    lines += [_pipes([row.label, *_texts(row, table, "{} ^{}^")]) for row in table.rows]
    return "\n".join([*lines, "", *(f"* {note}" for note in table.notes)]) + "\n"


def latex(table: Table) -> str:
    """Return the table in LaTeX for the package booktabs, with its notes in the caption."""
    ours, theirs = len(table.columns), len(table.published_columns)
    groups = [f"& \\multicolumn{{{ours}}}{{c}}{{ours}}"]
    groups += [f"& \\multicolumn{{{theirs}}}{{c}}{{published}}"] if theirs else []
    headings = [column.heading for column in table.columns] + [column.heading for column in table.published_columns]
    rows = [[_escaped(row.label), *_texts(row, table, "{}\\textsuperscript{{{}}}")] for row in table.rows]
    lines = [
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{_escaped(' '.join((table.title, *table.notes)))}}}",
        f"\\begin{{tabular}}{{l{'r' * (ours + theirs)}}}",
        "\\toprule",
        " ".join(groups) + " \\\\",
        " & ".join(["", *map(_escaped, headings)]) + " \\\\",
        "\\midrule",
        *(" & ".join(cell.replace(" ± ", " $\\pm$ ").replace("–", "--") for cell in row) + " \\\\" for row in rows),
        "\\bottomrule",
        "\\end{tabular}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def write_chart(file: Path, table: Table) -> None:
    """Draw the first measure of every row as dots with error bars, ours and the published one in one line.

    The notes stand below, since a picture travels without its table.
    """
    with mpl.rc_context(STYLE):
        notes = "\n".join(line for note in table.notes for line in wrap(note, NOTE_LETTERS))
        height = 1.6 + 0.32 * len(table.rows) + 0.11 * (notes.count("\n") + 1)
        canvas = Canvas(figsize=(8, height), layout="constrained")
        canvas.suptitle(table.title, fontsize=10)
        canvas.supxlabel(notes, fontsize=6.5, x=0.01, ha="left")
        axes = canvas.add_subplot()
        places = range(len(table.rows))
        for column, colour in zip(range(min(2, len(table.columns))), (OURS, ORACLE), strict=False):
            named = table.columns[column]
            points = [row.ours[column] for row in table.rows]
            _dots(axes, points, places, f"ours, {named.heading}", colour, "o" if column == 0 else "s")
        published = [_as_spread(row.published[0]) if row.published else None for row in table.rows]
        _dots(axes, published, places, "published", THEIRS, "D")
        axes.set_yticks(list(places), [row.label for row in table.rows])
        axes.invert_yaxis()
        axes.set_xlabel(f"{table.columns[0].heading.split(',')[0]}, percent; bars: one standard deviation over seeds")
        axes.grid(axis="x", linewidth=0.4)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False)
        canvas.savefig(file, format="png", dpi=150)


def _dots(
    axes: Axes, points: Sequence[Spread | None], places: Iterable[int], label: str, colour: str, marker: str
) -> None:
    known = [(point, place) for point, place in zip(points, places, strict=True) if point is not None]
    if known:
        axes.errorbar(
            [point.mean for point, _ in known],
            [place for _, place in known],
            xerr=[point.sd or 0.0 for point, _ in known],
            fmt=marker,
            color=colour,
            label=label,
            capsize=2,
            markersize=5,
        )


def _as_spread(figure: PublishedFigure | None) -> Spread | None:
    return None if figure is None or figure.value is None else Spread(figure.value, figure.sd, figure.seeds)


def _texts(row: Row, table: Table, marked: str) -> list[str]:
    """Return the row's figures in words; ``marked`` joins a published one with its mark."""
    theirs = [published_text(figure) for figure in row.published] if table.published_columns else []
    return [*map(text_of, row.ours), *(marked.format(text, mark) if mark else text for text, mark in theirs)]


def _published_headings(table: Table) -> list[str]:
    return [f"published {column.heading}" for column in table.published_columns]


def _pipes(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _escaped(text: str) -> str:
    for character in "&%$#_{}":
        text = text.replace(character, f"\\{character}")
    text = text.replace("^", "\\^{}").replace("±", "$\\pm$").replace("–", "--")
    for letter, name in GREEK.items():
        text = text.replace(letter, f"$\\{name}$")
    return text


def _long(table: Table) -> Iterable[tuple[Any, ...]]:
    """Yield one row per figure: ours by column, then all published ones, those without a column too."""
    for row in table.rows:
        for column, value in zip(table.columns, row.ours, strict=True):
            if value is not None:
                where = (row.label, "ours", "", "", column.gate, column.background, column.measure)
                yield *where, f"{value.mean:.4f}", _digits(value.sd), value.seeds, "", ""
        for figure in row.figures:
            where = (
                row.label,
                "published",
                figure.method,
                figure.table,
                figure.gate,
                figure.background,
                figure.measure,
            )
            yield *where, _digits(figure.value), _digits(figure.sd), figure.seeds or "", figure.status, figure.note


def _digits(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _plain(figure: Figure) -> tuple[Any, ...]:
    return (*figure[:-1], _digits(figure.value))


def _write_rows(file: Path, heading: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with replacing(file) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(heading)
        writer.writerows(rows)
