"""A folder of predicted masks, made by any program: find them, read them, translate their values."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histoproto.data.manifest import PatchRecord
from histoproto.errors import ConfigError, DataError
from histoproto.images import IMAGE_SUFFIXES
from histoproto.masks import read_indices
from histoproto.taxonomy import IGNORE, Taxonomy

LISTED = 3
"""How many file names an error shows."""


@dataclass(frozen=True)
class ValueCode:
    """Which pixel value stands for what in somebody's masks."""

    classes: tuple[int, ...]
    """Value of each tissue class, in the order of the taxonomy."""
    white: int | None
    """Value of background; None where the masks have none."""

    @classmethod
    def of(cls, taxonomy: Taxonomy, values: str | None = None, white: int | None = None) -> "ValueCode":
        """Read what the user typed.

        Args:
            taxonomy: classes of the true masks.
            values: one number per class, for example ``1,2,3,4``; None for 0, 1, 2, ...
            white: value of background; None for the one after the classes, unless that is a class.

        Raises:
            ConfigError: if the numbers do not fit the classes.
        """
        try:
            classes = tuple(int(part) for part in values.split(",")) if values else tuple(range(len(taxonomy)))
        except ValueError:
            raise ConfigError(f"--values {values}: give whole numbers with commas, such as 1,2,3") from None
        if len(classes) != len(taxonomy):
            raise ConfigError(
                f"--values {values}: {len(classes)} numbers, but {taxonomy.name} has {len(taxonomy)} classes "
                f"({', '.join(taxonomy.classes)})"
            )
        background = taxonomy.background if white is None and taxonomy.background not in classes else white
        known = [*classes, *([] if background is None else [background])]
        if len(set(known)) < len(known) or not all(0 <= value < IGNORE for value in known):
            raise ConfigError(
                f"--values {values} and --white-value {white}: each class and background needs a value of its own, "
                f"0..{IGNORE - 1}; {IGNORE} always means undecided"
            )
        return cls(classes, background)

    def translate(self, stored: NDArray[np.uint8], path: Path, taxonomy: Taxonomy) -> NDArray[np.uint8]:
        """Return a mask in our values: class indices, then background, 255 undecided.

        Raises:
            DataError: if a value stands for nothing.
        """
        table = np.full(256, -1, np.int16)
        table[IGNORE] = IGNORE
        if self.white is not None:
            table[self.white] = taxonomy.background
        table[list(self.classes)] = np.arange(len(self.classes))
        translated = table[stored]
        if translated.min() < 0:
            strange = sorted({int(value) for value in stored[translated < 0]})
            code = ", ".join(f"{value} {name}" for name, value in zip(taxonomy.classes, self.classes, strict=True))
            raise DataError(
                f"{path}: predicted value {', '.join(map(str, strange))} stands for nothing; known are {code}"
                f"{'' if self.white is None else f', {self.white} background'} and {IGNORE} undecided; "
                "name your own with --values and --white-value"
            )
        return translated.astype(np.uint8)


def find_masks(folder: Path, records: Sequence[PatchRecord]) -> tuple[dict[PatchRecord, Path], list[PatchRecord]]:
    """Return the predicted mask of each image, and the images that have none.

    A mask belongs to an image if it has the image's name, or that of its true mask, up to the ending.

    Raises:
        DataError: if the folder is none, holds no mask of any of the images, or two that fit one image.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; give a run, or a folder of predicted masks")
    by_stem: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        if path.stem in by_stem:
            raise DataError(f"{folder}: {by_stem[path.stem].name} and {path.name} are for one image; keep one of them")
        by_stem[path.stem] = path
    found, missing = {}, []
    for record in records:
        names = [record.path.stem, *([record.mask.stem] if record.mask else [])]
        fitting = [by_stem[name] for name in names if name in by_stem]
        if fitting:
            found[record] = fitting[0]
        else:
            missing.append(record)
    if not found:
        shown = ", ".join(record.path.stem for record in records[:LISTED])
        raise DataError(
            f"{folder}: {len(by_stem)} image files, none named like an image of the split ({shown}, ...); "
            "name each mask like its image"
        )
    return found, missing


def read_prediction(path: Path, size: tuple[int, int], code: ValueCode, taxonomy: Taxonomy) -> NDArray[np.uint8]:
    """Return a predicted mask in our values.

    Args:
        path: the mask.
        size: height and width of the true mask.
        code: what its values mean.
        taxonomy: classes of the true masks.

    Raises:
        DataError: if it cannot be read, is coloured, has another size or an unknown value.
    """
    stored = read_indices(path)
    if stored.shape != size:
        raise DataError(
            f"{path}: predicted mask of {stored.shape[1]} x {stored.shape[0]} px for a true mask of {size[1]} x "
            f"{size[0]} px; predict at the image's own size, or enlarge without interpolation"
        )
    return code.translate(stored, path, taxonomy)
