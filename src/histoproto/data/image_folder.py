"""Any folder of images with a table of labels.

============ =================================================================================================
table        ``labels.csv`` in the folder, or another file; separated by commas or semicolons
``path``     or ``filename``: the image, relative to the folder
labels       one column per class with 0 or 1, or one column ``labels`` such as ``1101`` or ``[1, 0, 1]``; empty
             where unknown, which train does not allow
``split``    optional: train, val, test; all are train without it
``group``    optional: slide or patient. Without it the patient part of a TCGA name, else each file counts as its
             own source
``mpp``      optional: microns per pixel. Without it what the name says (``MPP-0.2500``), else unknown
``mask``     optional: palette PNG, relative to the folder
taxonomy     class names in the order of the digits, or a ``taxonomy.json``
============ =================================================================================================
"""

import colorsys
import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from histoproto.data.filenames import mpp_in_name, parse_digits, tcga_patient
from histoproto.data.importing import Candidate, refuse
from histoproto.data.layouts import SPLIT_FOLDERS
from histoproto.data.manifest import SPLITS
from histoproto.errors import ConfigError, DataError, LabelError
from histoproto.images import IMAGE_SUFFIXES
from histoproto.taxonomy import Colour, Taxonomy

PATH_COLUMNS = ("path", "filename")
DEFAULT_TABLE = "labels.csv"

_COLOURS: tuple[Colour, ...] = (
    (213, 94, 0),
    (0, 158, 115),
    (0, 114, 178),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
    (240, 228, 66),
)
"""Okabe and Ito's colours, which colour-blind readers can tell apart."""

_SPLIT_NAMES = {name: split for split, names in SPLIT_FOLDERS.items() for name in names} | {
    name: name for name in SPLITS
}


@dataclass(frozen=True)
class Table:
    """The rows of a label table as text, and where they come from."""

    file: Path
    rows: pd.DataFrame
    path_column: str

    def column(self, name: str) -> list[str]:
        """Return a column, or empty texts if there is none."""
        if name not in self.rows.columns:
            return [""] * len(self.rows)
        return [str(value).strip() for value in self.rows[name]]


def make_taxonomy(name: str, classes: str) -> Taxonomy:
    """Return a taxonomy for class names separated by commas, with default colours.

    Raises:
        ConfigError: if there is no name or one occurs twice.
    """
    names = tuple(part.strip() for part in classes.split(",") if part.strip())
    extra = (colorsys.hsv_to_rgb(0.618 * place % 1, 0.7, 0.8) for place in range(len(names)))
    colours = [*_COLOURS, *((round(255 * r), round(255 * g), round(255 * b)) for r, g, b in extra)]
    return Taxonomy(name, names, names, tuple(colours[: len(names)]))


def read_taxonomy(file: Path) -> Taxonomy:
    """Return the taxonomy in a JSON file.

    Raises:
        ConfigError: if the file is missing or holds no taxonomy.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file; give class names with --classes TUM,STR") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: not a JSON taxonomy ({error}); every study has one to copy") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: not a JSON taxonomy; every study has one to copy")
    return Taxonomy.from_dict(content)


def candidates_by_table(root: Path, table_file: Path, taxonomy: Taxonomy) -> list[Candidate]:
    """Return the patches that a label table names.

    Raises:
        DataError: if the folder or table is missing, a column is absent, or a row cannot be understood.
        LabelError: if labels do not fit the taxonomy, or a training patch has none.
    """
    table = _read_table(root, table_file)
    paths = table.column(table.path_column)
    labels = _labels(table, taxonomy)
    rows = zip(
        paths,
        labels,
        table.column("split"),
        table.column("group"),
        table.column("mpp"),
        table.column("mask"),
        strict=True,
    )
    candidates = [
        Candidate(
            path=root / path,
            split=_split(split, path, table),
            group=group or tcga_patient(Path(path).name) or path,
            labels=digits,
            mask=root / mask if mask else None,
            mpp=_mpp(mpp, path, table) or mpp_in_name(Path(path).name),
        )
        for path, digits, split, group, mpp, mask in rows
    ]
    refuse(
        [
            LabelError(f"{patch.path.name}: training patch without labels in {table.file}; fill them in")
            for patch in candidates
            if patch.split == "train" and patch.labels is None
        ]
    )
    return candidates


def notes_on(root: Path, candidates: list[Candidate]) -> list[str]:
    """Return what the user should know: images without a row, and sources that nobody named."""
    notes = []
    named = {path for patch in candidates for path in (patch.path, patch.mask) if path is not None}
    without_row = [
        path
        for path in sorted(root.rglob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path not in named
    ]
    if without_row:
        notes.append(
            f"{len(without_row)} images have no row in the table and were left out, the first is "
            f"{without_row[0].relative_to(root)}"
        )
    if any(patch.group == patch.path.relative_to(root).as_posix() for patch in candidates):
        notes.append(
            "without a group column each file counts as its own source: patches of one slide may then be in "
            "two splits unseen"
        )
    return notes


def _read_table(root: Path, file: Path) -> Table:
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give the folder that holds the images")
    try:
        with file.open(encoding="utf-8-sig") as handle:
            head = handle.readline()
        separator = ";" if head.count(";") > head.count(",") else ","
        rows = pd.read_csv(file, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{file}: no such table; name the CSV file of the labels with --labels") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: not a CSV table ({error}); save it as CSV in UTF-8") from None
    rows.columns = [str(name).strip() for name in rows.columns]
    path_column = next((name for name in PATH_COLUMNS if name in rows.columns), None)
    if path_column is None:
        raise DataError(
            f"{file}: no column path or filename among {', '.join(rows.columns)}; it names the image of a row"
        )
    if rows.empty:
        raise DataError(f"{file}: a head but no rows; it needs one row per image")
    twice = rows[path_column][rows[path_column].duplicated()]
    if len(twice):
        raise DataError(f"{file}: {twice.iloc[0]} has more than one row; keep one")
    return Table(file, rows, path_column)


def _labels(table: Table, taxonomy: Taxonomy) -> list[str | None]:
    if "labels" in table.rows.columns:
        texts = [text.strip("[]") for text in table.column("labels")]
    else:
        missing = [name for name in taxonomy.classes if name not in table.rows.columns]
        if missing:
            raise DataError(
                f"{table.file}: no column labels and none called {', '.join(missing)}; "
                f"it has {', '.join(table.rows.columns)}"
            )
        columns = [table.column(name) for name in taxonomy.classes]
        texts = [
            " ".join(cell.removesuffix(".0") or "?" for cell in cells) if any(cells) else ""
            for cells in zip(*columns, strict=True)
        ]
    labels: list[str | None] = []
    problems: list[LabelError] = []
    for path, text in zip(table.column(table.path_column), texts, strict=True):
        try:
            labels.append(parse_digits(text, Path(path).name, taxonomy) if text else None)
        except LabelError as error:
            problems.append(error)
    refuse(problems)
    return labels


def _split(text: str, path: str, table: Table) -> str:
    if not text:
        return "train"
    if text.lower() not in _SPLIT_NAMES:
        raise DataError(f"{table.file}: {path} is in split {text!r}; use {', '.join(SPLITS)}")
    return _SPLIT_NAMES[text.lower()]


def _mpp(text: str, path: str, table: Table) -> float | None:
    if not text:
        return None
    try:
        mpp = float(text)
    except ValueError:
        mpp = 0.0
    if not 0 < mpp < 1000:
        raise DataError(f"{table.file}: {path} has mpp {text!r}; give microns per pixel, for example 0.5")
    return mpp
