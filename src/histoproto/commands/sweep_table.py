"""The table of ``histoproto sweep`` in the terminal, and as JSON."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from histoproto.sweeps.table import Table


def show(table: "Table", folder: Path) -> None:
    """Print the table; measures that would not fit beside each other stand in the files alone."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    from histoproto.sweeps.table import published_text, text_of

    columns = [place for place, column in enumerate(table.columns) if not column.wide]
    theirs = [place for place, column in enumerate(table.published_columns) if not column.wide]
    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    grid.add_column("")
    for place in columns:
        grid.add_column(Text(f"ours:\n{table.columns[place].heading}"), justify="right", no_wrap=True)
    for place in theirs:
        grid.add_column(Text(f"published:\n{table.published_columns[place].heading}"), justify="right", no_wrap=True)
    for row in table.rows:
        ours = [text_of(row.ours[place]) for place in columns]
        published = [" ".join(filter(None, published_text(row.published[place]))) for place in theirs]
        grid.add_row(Text(row.label), *ours, *published, style="dim" if not any(row.ours) else "")
    console = Console()
    console.print(Text(table.title, style="bold"))
    console.print(grid)
    for note in table.notes:
        console.print(f"* {note}", markup=False, highlight=False)
    console.print(
        f"All measures: {folder / 'table.md'}, table.tex, table.csv, table.png", soft_wrap=True, highlight=False
    )


def as_json(table: "Table") -> dict[str, Any]:
    """Return the table as plain values: percent, with standard deviations over seeds."""
    return {
        "title": table.title,
        "rows": [
            {
                "setting": row.label,
                "ours": {
                    f"{column.measure} ({column.gate}, {column.background})": None if value is None else value._asdict()
                    for column, value in zip(table.columns, row.ours, strict=True)
                },
                "published": [
                    {
                        "method": figure.method,
                        "table": figure.table,
                        "measure": figure.measure,
                        "value": figure.value,
                        "sd": figure.sd,
                        "status": figure.status,
                        "protocol": figure.protocol,
                    }
                    for figure in row.figures
                ],
            }
            for row in table.rows
        ],
        "notes": list(table.notes),
    }
