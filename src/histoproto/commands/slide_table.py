"""A CSV table that names slides, with the microns per pixel of those that do not say it."""

import csv
import math
from pathlib import Path

from histoproto.errors import DataError


def read_slide_table(table: Path) -> dict[Path, float | None]:
    """Return the slides that a table names, each with its microns per pixel where the table gives them.

    Args:
        table: CSV with a column ``path``, taken from the table's own folder unless absolute, and perhaps ``mpp``.

    Raises:
        DataError: if the table cannot be read, has no such column or no row, or a value is wrong.
    """
    slides: dict[Path, float | None] = {}
    try:
        with table.open(newline="", encoding="utf-8-sig") as handle:
            rows = csv.DictReader(handle)
            if "path" not in (rows.fieldnames or ()):
                found = ", ".join(rows.fieldnames or ()) or "none"
                raise DataError(
                    f"{table}: no column path (columns: {found}); give one slide per row, and mpp if needed"
                )
            for number, row in enumerate(rows, start=2):
                slides[table.parent / (row["path"] or "")] = _mpp(row.get("mpp"), f"{table}, line {number}")
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} is no CSV table ({error}); save it as comma-separated UTF-8") from None
    if not slides:
        raise DataError(f"{table}: no slide in it; give one per row")
    missing = [slide for slide in slides if not slide.is_file()]
    if missing:
        raise DataError(f"{table}: {missing[0]} does not exist; {len(missing)} of {len(slides)} rows name no file")
    return slides


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
        raise DataError(f"{where}: mpp {text} is no number of {low:g} to {high:g} microns per pixel")
    return mpp
