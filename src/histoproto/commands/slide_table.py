"""A CSV table that names slides, with the microns per pixel of those that do not say it."""

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from histoproto.errors import DataError


def read_slide_table(table: Path) -> dict[Path, float | None]:
    """Return the slides that a table names, each with its microns per pixel where the table gives them.

    Args:
        table: CSV with a column ``path``, taken from the table's own folder unless absolute, and perhaps ``mpp``.

    Raises:
        DataError: if the table cannot be read, has no such column or no row, or a value is wrong.
    """
    rows_read: list[tuple[Path, float | None]] = []
    try:
        with table.open(newline="", encoding="utf-8-sig") as handle:
            rows = csv.DictReader(handle)
            _require_path(table, rows.fieldnames or ())
            for row in rows:
                where = f"{table}, line {rows.line_num}"
                path = (row["path"] or "").strip()
                if not path:
                    raise DataError(f"{where}: no path; name a slide or remove the line")
                rows_read.append((table.parent / path, _mpp(row.get("mpp"), where)))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} is no CSV table ({error}); save it as comma-separated UTF-8") from None
    slides = once_each(rows_read)
    if not slides:
        raise DataError(f"{table}: no slide in it; give one per row")
    missing = [slide for slide in slides if not slide.is_file()]
    if missing:
        raise DataError(f"{table}: {missing[0]} does not exist; {len(missing)} of {len(slides)} rows name no file")
    return slides


def once_each(named: Iterable[tuple[Path, float | None]]) -> dict[Path, float | None]:
    """Return slides, each once under its first spelling, with their microns per pixel.

    Args:
        named: slides, and their microns per pixel or None, any number of times.

    Raises:
        DataError: if a slide is given two numbers of microns per pixel.
    """
    slides: dict[Path, float | None] = {}
    spelt: dict[Path, Path] = {}
    for slide, mpp in named:
        first = spelt.setdefault(slide.absolute(), slide)
        before = slides.get(first)
        if before is not None and mpp is not None and before != mpp:
            raise DataError(f"{slide} is named twice, with {before:g} and {mpp:g} microns per pixel; keep one of them")
        slides[first] = before if mpp is None else mpp
    return slides


def _require_path(table: Path, columns: Sequence[str]) -> None:
    if "path" in columns:
        return
    found = ", ".join(columns) or "none"
    if any(";" in column for column in columns):
        raise DataError(f"{table}: its columns are separated by semicolons ({found}); save it with commas")
    raise DataError(f"{table}: no column path (columns: {found}); give one slide per row, and mpp if needed")


def _mpp(text: str | None, where: str) -> float | None:
    from histoproto.slides.mpp import PLAUSIBLE_MPP, plausible_mpp

    if not (text or "").strip():
        return None
    try:
        mpp = float(text or "")
    except ValueError:
        mpp = math.nan
    if plausible_mpp(mpp) is None:
        low, high = PLAUSIBLE_MPP
        comma = "; write a point in place of the comma" if "," in (text or "") else ""
        raise DataError(f"{where}: mpp {text} is no number of {low:g} to {high:g} microns per pixel{comma}")
    return mpp
