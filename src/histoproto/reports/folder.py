"""The report's figures and tables as files, for papers and slides."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from histoproto.atomic import replacing
from histoproto.reports.drawings import Drawing
from histoproto.reports.tables import Table

INDEX = "index.csv"
"""Names every file with what it shows."""


def write_folder(folder: Path, drawings: Sequence[Drawing], tables: Sequence[Table]) -> int:
    """Write every drawing as SVG and PNG and every table as CSV, with an index.

    Files that an earlier index names and that are not made again are deleted; other files are left alone.

    Args:
        folder: where to.
        drawings: figures.
        tables: tables.

    Returns:
        The number of files, the index not counted.
    """
    earlier = _named_in(folder / INDEX)
    index: dict[str, str] = {}
    for drawing in drawings:
        index |= {file.name: drawing.description for file in drawing.write(folder)}
    for table in tables:
        write_rows(folder / f"{table.name}.csv", table.rows)
        index[f"{table.name}.csv"] = table.about
    write_rows(folder / INDEX, [{"file": name, "shows": words} for name, words in index.items()])
    for name in earlier - index.keys():
        if (folder / name).is_file():
            (folder / name).unlink()
    return len(index)


def write_rows(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as CSV; columns are those of all rows, in the order in which they come up."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with replacing(file) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _named_in(index: Path) -> set[str]:
    """Return the files that an index names, none outside its folder."""
    if not index.is_file():
        return set()
    with index.open(encoding="utf-8", newline="") as lines:
        return {Path(row.get("file") or "").name for row in csv.DictReader(lines)} - {""}
