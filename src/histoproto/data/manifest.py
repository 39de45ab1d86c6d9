"""The study folder: which patches there are, in which split, from which source, with which labels and mask.

::

    manifest.parquet   one row per patch; this is what the program reads
    manifest.csv       the same rows for people and spreadsheets
    taxonomy.json      class order, names and colours

Images and masks are referenced, never copied. Paths are relative to the study folder where they lie inside
it and absolute elsewhere.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from histoproto.atomic import replacing, write_json
from histoproto.errors import DataError, LabelError
from histoproto.taxonomy import Taxonomy

MANIFEST = "manifest.parquet"
MANIFEST_CSV = "manifest.csv"
TAXONOMY = "taxonomy.json"

TEXT_COLUMNS = ("path", "sha256", "split", "group", "labels", "mask", "mask_sha256")
NUMBER_COLUMNS = {"mpp": "Float64", "width_px": "Int64", "height_px": "Int64"}
COLUMNS = (
    "path",
    "sha256",
    "split",
    "group",
    "mpp",
    "width_px",
    "height_px",
    "labels",
    "mask",
    "mask_sha256",
)
"""``sha256`` and sizes are missing where a file could not be read; ``labels`` are digits such as ``1101``."""

SPLITS = ("train", "holdout", "val", "test")
"""``holdout``: labelled patches kept out of training to choose a checkpoint where ``val`` has masks only."""


@dataclass(frozen=True)
class PatchRecord:
    """One patch of a study, with absolute paths."""

    path: Path
    labels: tuple[int, ...] | None
    """0 or 1 per class; None where nobody gave image-level labels."""
    mask: Path | None
    group: str
    """Source slide or patient; no group may be in two splits."""
    mpp: float | None
    """Microns per pixel; None where unknown."""
    name: str
    """File name with its ending."""
    width_px: int | None = None
    height_px: int | None = None
    sha256: str | None = None
    """Of the image file, as it was at the import."""


@dataclass(frozen=True)
class Study:
    """A manifest with its taxonomy."""

    folder: Path
    taxonomy: Taxonomy
    table: pd.DataFrame
    """Columns ``COLUMNS``, ordered by split and path."""

    @property
    def splits(self) -> dict[str, int]:
        """Number of patches of each split that has any."""
        counts = self.table["split"].value_counts()
        known = [name for name in SPLITS if name in counts.index]
        others = sorted(str(name) for name in counts.index if name not in SPLITS)
        return {name: int(counts[name]) for name in (*known, *others)}

    @property
    def choosing_split(self) -> str:
        """The split whose labels choose a checkpoint without any mask: ``holdout``, else ``val``.

        Raises:
            DataError: if neither has labels on all its patches.
        """
        for name in ("holdout", "val"):
            rows = self.table[self.table["split"] == name]
            if len(rows) and rows["labels"].notna().all():
                return name
        raise DataError(
            f"{self.folder}: no labelled patches outside train to choose a checkpoint by; "
            "import again with --holdout-fraction 0.15"
        )

    def split(self, name: str) -> list[PatchRecord]:
        """Return the patches of a split, ordered by path as text.

        Raises:
            DataError: if the split does not exist or has no patches.
            LabelError: if label digits do not fit the taxonomy.
        """
        rows = self.table[self.table["split"] == name].sort_values("path", kind="stable")
        if rows.empty:
            there = ", ".join(f"{split} ({count})" for split, count in self.splits.items()) or "none"
            raise DataError(f"{self.folder}: no patches in split {name!r}; it has: {there}")
        return [self._record(row) for row in rows.to_dict("records")]

    def data_hash(self) -> str:
        """Return a sha256 over what the rows say, the same on every machine and for every order of rows.

        Pixels count through the files' hashes; of the paths only the file names count.
        """
        lines = sorted(
            json.dumps([Path(str(row["path"])).name, *(_plain(row[column]) for column in _HASHED)])
            for row in self.table.to_dict("records")
        )
        digest = hashlib.sha256(json.dumps(self.taxonomy.to_dict(), sort_keys=True).encode())
        digest.update("\n".join(lines).encode())
        return digest.hexdigest()

    def absolute(self, path: str) -> Path:
        """Return the place of a file that the manifest names."""
        return self.folder.absolute() / path

    def _record(self, row: dict[Any, Any]) -> PatchRecord:
        path = self.absolute(str(row["path"]))
        plain = {column: _plain(row[column]) for column in ("labels", "mask", "sha256", *NUMBER_COLUMNS)}
        return PatchRecord(
            path=path,
            labels=None if plain["labels"] is None else self._digits(path, plain["labels"]),
            mask=None if plain["mask"] is None else self.absolute(plain["mask"]),
            group=str(row["group"]),
            mpp=plain["mpp"],
            name=path.name,
            width_px=plain["width_px"],
            height_px=plain["height_px"],
            sha256=plain["sha256"],
        )

    def _digits(self, path: Path, labels: str) -> tuple[int, ...]:
        if len(labels) != len(self.taxonomy) or set(labels) - {"0", "1"}:
            raise LabelError(
                f"{path}: labels {labels!r} are not {len(self.taxonomy)} digits 0 or 1 for "
                f"{', '.join(self.taxonomy.classes)}; import the study again"
            )
        return tuple(int(digit) for digit in labels)


_HASHED = tuple(column for column in COLUMNS if column not in ("path", "mask"))


def make_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return rows (missing entries None or absent) as a table with the manifest's columns and types."""
    return _typed(pd.DataFrame(rows, columns=list(COLUMNS)))


def stored_path(path: Path, folder: Path) -> str:
    """Return how a manifest in ``folder`` names ``path``: relative if inside, else absolute.

    A link's own name is kept, since labels are read from names.
    """
    place = path.parent.resolve() / path.name
    home = folder.resolve()
    return place.relative_to(home).as_posix() if place.is_relative_to(home) else place.as_posix()


def write_study(study: Study) -> None:
    """Write the three files, each atomically; the Parquet file comes last and makes the folder a study.

    Raises:
        HistoprotoError: if a file cannot be written.
    """
    write_json(study.folder / TAXONOMY, study.taxonomy.to_dict())
    table = _typed(study.table)
    with replacing(study.folder / MANIFEST_CSV) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
    with replacing(study.folder / MANIFEST) as temporary:
        table.to_parquet(temporary, index=False)


def read_study(folder: Path) -> Study:
    """Return the study in a folder.

    Raises:
        DataError: if this is no study or one of its files cannot be read.
    """
    for name in (MANIFEST, TAXONOMY):
        if not (folder / name).is_file():
            raise DataError(f"{folder} is no study (no {name}); make one with: histoproto data import")
    try:
        taxonomy = Taxonomy.from_dict(json.loads((folder / TAXONOMY).read_text(encoding="utf-8")))
        table = pd.read_parquet(folder / MANIFEST)
    except (ValueError, OSError) as error:
        raise DataError(f"{folder}: manifest or taxonomy cannot be read ({error}); import the study again") from None
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        raise DataError(f"{folder / MANIFEST}: no column {', '.join(missing)}; import the study again")
    return Study(folder, taxonomy, _typed(table))


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    types = {**dict.fromkeys(TEXT_COLUMNS, "string"), **NUMBER_COLUMNS}
    typed = table[list(COLUMNS)].astype(types)
    order = {name: place for place, name in enumerate(SPLITS)}
    rank = typed["split"].map(lambda name: order.get(name, len(order)))
    return typed.assign(_rank=rank).sort_values(["_rank", "path"]).drop(columns="_rank").reset_index(drop=True)


def _plain(value: Any) -> Any:
    if pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value
