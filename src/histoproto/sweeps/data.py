"""The data of a sweep: a study that is there, a drawn one, or a few patches of either."""

from pathlib import Path
from typing import Any

import pandas as pd

from histoproto.data.manifest import Study, read_study, write_study
from histoproto.errors import ConfigError, DataError
from histoproto.published.reader import read_published
from histoproto.sweeps.definition import PublishedChoice
from histoproto.sweeps.steps import Step
from histoproto.taxonomy import TAXONOMIES, Taxonomy

PHANTOM = "phantom"
FULL_PHANTOM = {"train": 640, "val": 64, "test": 64, "size_px": 112, "seed": 0, "slide_px": 0}
TINY_PHANTOM = {"train": 160, "val": 24, "test": 24, "size_px": 64, "seed": 0, "slide_px": 0}
"""Arguments of ``histoproto data phantom``."""
FEW = {"train": 160, "holdout": 24, "val": 24, "test": 24}
"""Patches of each split that a tiny sweep takes of a study."""


def drawing(folder: Path, *, tiny: bool) -> Step:
    """Return the command that draws the phantom."""
    return Step("data_phantom", (folder,), dict(TINY_PHANTOM if tiny else FULL_PHANTOM), folder / "manifest.parquet")


def few_patches(study: Study, folder: Path) -> Study:
    """Write a study of a few patches of another, in which every combination of labels is represented.

    Args:
        study: where the patches are and stay.
        folder: of the new study.
    """
    parts = [_spread(study.table[study.table["split"] == split], FEW.get(str(split), 24)) for split in study.splits]
    table = pd.concat(parts)
    absolute = {
        column: table[column].map(lambda path: str(study.absolute(str(path))), na_action="ignore")
        for column in ("path", "mask")
    }
    write_study(Study(folder, study.taxonomy, table.assign(**absolute)))
    return read_study(folder)


def check_study(study: Study, split: str, *, trains: bool) -> None:
    """Check that a sweep can train on a study and evaluate it.

    Raises:
        DataError: if patches to train on, to choose a checkpoint by, or to compare with are missing.
    """
    study.split("train")
    records = study.split(split)
    if not trains:
        return
    study.split(study.choosing_split)
    if not any(record.mask is not None for record in records):
        raise DataError(f"{study.folder}: split {split} has no masks to compare with; name one that has, with --split")


def published_dataset(taxonomy: Taxonomy, choice: PublishedChoice) -> str:
    """Return the data set whose published figures belong beside those of a study.

    Raises:
        ConfigError: if all of them are of other classes.
    """
    datasets = list(dict.fromkeys(figure.dataset for figure in read_published() if figure.table in choice.tables))
    if taxonomy.name in datasets:
        return taxonomy.name
    of_classes = [name for name in datasets if name in TAXONOMIES and TAXONOMIES[name].classes == taxonomy.classes]
    if of_classes:
        return of_classes[0]
    known = "; ".join(f"{name}: {', '.join(TAXONOMIES[name].classes)}" for name in datasets if name in TAXONOMIES)
    raise ConfigError(
        f"the study's classes are {', '.join(taxonomy.classes)}, but {' and '.join(choice.tables)} is about other ones "
        f"({known}); add --no-published to go without those figures"
    )


def identity(study: Study, *, tiny: bool) -> dict[str, Any]:
    """Return what two calls must agree on: the patches themselves, wherever they lie."""
    return {"data_hash": study.data_hash(), "tiny": tiny}


def phantom_identity(*, tiny: bool) -> dict[str, Any]:
    """Return what a drawn study is, before it is drawn."""
    return {PHANTOM: TINY_PHANTOM if tiny else FULL_PHANTOM, "tiny": tiny}


def _spread(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return so many rows, taken in turn from each combination of labels."""
    ordered = rows.assign(_labels=rows["labels"].fillna("")).sort_values("path", kind="stable")
    turn = ordered.groupby("_labels").cumcount()
    chosen = turn.sort_values(kind="stable").index[:count]
    return rows.loc[sorted(chosen)]
