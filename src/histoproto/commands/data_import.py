"""``histoproto data import``: make a study from patches on disk."""

import json as json_text
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from histoproto.commands.next_step import say_next
from histoproto.errors import ConfigError
from histoproto.taxonomy import Taxonomy

if TYPE_CHECKING:
    from histoproto.data.importing import Candidate, HeldOut
    from histoproto.data.manifest import Study

Kind = Literal["bcss-wsss", "luad-histoseg", "wsss4luad", "folder"]


def data_import(
    kind: Kind,
    path: Path,
    /,
    *,
    out: Path,
    labels: Path | None = None,
    classes: str | None = None,
    taxonomy: Path | None = None,
    val_fraction: float = 0.15,
    holdout_fraction: float = 0.15,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Make a study from labelled patches; the images stay where they are.

    Split folders may be called training, train or 1.training; val, valid, validation or 2.validation; test,
    testing or 3.testing. Each holds images flat, or img beside mask. Labels are read from the file names
    (bcss-wsss, luad-histoseg, wsss4luad) or from a CSV table (folder).

    Splits of the study: train; holdout, labelled patches of train's own sources kept out of training so that
    a checkpoint can be chosen without any mask (made only where val has masks but no labels); val; test.

    Args:
        kind: Which data set.
        path: Folder that holds the split folders, or the images of kind folder.
        out: Folder of the study: new, empty, or a study to replace.
        labels: Kind folder: CSV with path, split, group, mpp, mask and either labels or one column per class.
            [default: labels.csv in PATH]
        classes: Kind folder: class names in label order, for example TUM,STR.
        taxonomy: Kind folder: a taxonomy.json instead of --classes, with titles and colours.
        val_fraction: Share of train that becomes val where the source has none; whole groups.
        holdout_fraction: Share of train that becomes holdout where val has no labels; whole groups.
        json: Print the summary as JSON.
    """
    from histoproto.data.importing import HeldOut, check_target

    if kind != "folder" and (labels or classes or taxonomy):
        raise ConfigError(f"--labels, --classes and --taxonomy belong to kind folder, {kind} has its own")
    held_out = HeldOut(val_fraction, holdout_fraction)
    check_target(out, path)
    found_taxonomy, candidates, notes = _find(kind, path, labels, classes, taxonomy)
    study, division = make_study(out, found_taxonomy, candidates, held_out)
    notes += division
    report(study, notes, json=json)


def make_study(
    out: Path, taxonomy: Taxonomy, candidates: "list[Candidate]", held_out: "HeldOut"
) -> "tuple[Study, list[str]]":
    """Divide, read and write patches as a study; return it and notes on the division."""
    from histoproto.data.importing import build_study, divide, files_of
    from histoproto.data.manifest import write_study
    from histoproto.progress import progress_bar

    division = divide(candidates, held_out)
    with progress_bar("Reading files", files_of(division.candidates)) as advance:
        study = build_study(out, taxonomy, division.candidates, advance)
    write_study(study)
    return study, [division.note] if division.note else []


def report(study: "Study", notes: list[str], *, json: bool) -> None:
    """Print what a study holds and the next command."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from histoproto.data.summary import split_summary

    summary = split_summary(study)
    console = Console()
    if json:
        content = {"study": str(study.folder), "splits": summary, "notes": notes, "data_hash": study.data_hash()}
        console.file.write(json_text.dumps(content, indent=2) + "\n")
        return
    table = Table(title=Text(f"{study.folder} ({study.taxonomy.name})"))
    for column in ("split", "patches", "groups", "with labels", "with mask", *study.taxonomy.classes):
        table.add_column(Text(column), justify="left" if column == "split" else "right")
    for split, row in summary.items():
        per_class = row["per_class"].values() if row["labelled"] else ["-"] * len(study.taxonomy)
        numbers = (row["patches"], row["groups"], row["labelled"], row["masks"], *per_class)
        table.add_row(split, *map(str, numbers))
    console.print(table)
    for note in notes:
        console.print(f"Note: {note}.", soft_wrap=True, markup=False, highlight=False)
    say_next(f"histoproto data check {study.folder}")


def _find(
    kind: Kind, path: Path, labels: Path | None, classes: str | None, taxonomy: Path | None
) -> "tuple[Taxonomy, list[Candidate], list[str]]":
    from histoproto.data.importing import candidates_by_name
    from histoproto.data.kinds import SHEETS

    if kind == "folder":
        return _find_by_table(path, labels, classes, taxonomy)
    sheet = SHEETS[kind]
    return sheet.taxonomy, candidates_by_name(path, sheet), []


def _find_by_table(
    path: Path, labels: Path | None, classes: str | None, taxonomy: Path | None
) -> "tuple[Taxonomy, list[Candidate], list[str]]":
    from histoproto.data.image_folder import (
        DEFAULT_TABLE,
        candidates_by_table,
        make_taxonomy,
        notes_on,
        read_taxonomy,
    )

    if (classes is None) == (taxonomy is None):
        raise ConfigError(
            "kind folder needs the class names in label order, either --classes TUM,STR or --taxonomy FILE"
        )
    known = read_taxonomy(taxonomy) if taxonomy else make_taxonomy(path.resolve().name or "folder", classes or "")
    candidates = candidates_by_table(path, labels or path / DEFAULT_TABLE, known)
    return known, candidates, notes_on(path, candidates)
