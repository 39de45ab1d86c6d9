"""From files to a study: labels, groups, hashes, and labelled patches kept out of training."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from histoproto.data.filenames import digits_in_name, mpp_in_name
from histoproto.data.fingerprints import Advance, fingerprint_all
from histoproto.data.holdout import LabelledPatch, held_out_groups
from histoproto.data.layouts import FoundPatch, find_patches
from histoproto.data.manifest import MANIFEST, Study, make_table, stored_path
from histoproto.data.sheets import DataSheet
from histoproto.errors import ConfigError, DataError, LabelError
from histoproto.taxonomy import Taxonomy


@dataclass(frozen=True)
class Candidate:
    """A patch before its file is read."""

    path: Path
    split: str
    group: str
    labels: str | None
    """Digits such as ``1101``."""
    mask: Path | None
    mpp: float | None


@dataclass(frozen=True)
class HeldOut:
    """Which share of the training patches to keep out, by whole groups; 0 keeps none."""

    val_fraction: float = 0.15
    """For ``val``, where the source has none."""
    holdout_fraction: float = 0.15
    """For ``holdout``, where ``val`` has patches without labels."""

    def __post_init__(self) -> None:
        for option, value in (
            ("--val-fraction", self.val_fraction),
            ("--holdout-fraction", self.holdout_fraction),
        ):
            if not 0 <= value <= 0.5:
                raise ConfigError(f"{option} {value:g}: give a share of the training patches from 0 to 0.5")


@dataclass(frozen=True)
class Division:
    """Patches with their final splits, and in words what was kept out of training and why."""

    candidates: list[Candidate]
    note: str | None


def candidates_by_name(root: Path, sheet: DataSheet) -> list[Candidate]:
    """Return the patches of a data set whose labels stand in the file names.

    Raises:
        DataError: if there are no images where they are expected.
        LabelError: if labels do not fit the taxonomy or a training patch has none; names the first such file.
    """
    found = find_patches(root)
    return [
        Candidate(
            path=patch.path,
            split=patch.split,
            group=sheet.group_of(patch.path, patch.split),
            labels=digits,
            mask=patch.mask,
            mpp=mpp_in_name(patch.path.name) or sheet.mpp,
        )
        for patch, digits in zip(found, _labels_of(found, sheet.taxonomy), strict=True)
    ]


def refuse(problems: Sequence[LabelError]) -> None:
    """Raise the first of several errors, saying how many files have the same.

    Raises:
        LabelError: unless there are none.
    """
    if not problems:
        return
    first = str(problems[0])
    alike = sum(str(problem).partition(": ")[2] == first.partition(": ")[2] for problem in problems) - 1
    files = "file" if alike == 1 else "files"
    raise LabelError(f"{first} ({alike} more {files} alike)" if alike else first)


def divide(candidates: list[Candidate], held_out: HeldOut) -> Division:
    """Keep labelled patches out of training where the source does not: ``val``, or ``holdout`` beside it.

    Without ``val`` a share of the training groups becomes ``val``. With a ``val`` that has masks but not
    labels on all its patches, a share becomes ``holdout``, by whose labels a checkpoint can be chosen without
    looking at any mask.
    """
    training = [patch for patch in candidates if patch.split == "train"]
    validation = [patch for patch in candidates if patch.split == "val"]
    if not training or (validation and all(patch.labels is not None for patch in validation)):
        return Division(candidates, None)
    split, fraction = ("holdout", held_out.holdout_fraction) if validation else ("val", held_out.val_fraction)
    why = "val has no image-level labels" if validation else "the source has no val"
    if fraction == 0:
        return Division(candidates, f"{why}, and --{split}-fraction 0 keeps no training patches for choosing")
    groups = held_out_groups([LabelledPatch(patch.group, patch.labels or "") for patch in training], fraction)
    if not groups:
        return Division(
            candidates,
            f"{why}, but no source group can leave train without taking a class along: no {split} was made",
        )
    moved = [
        replace(patch, split=split) if patch.split == "train" and patch.group in groups else patch
        for patch in candidates
    ]
    count = sum(patch.split == split for patch in moved)
    return Division(
        moved,
        f"{why}: {count} of {len(training)} training patches ({len(groups)} whole groups) became {split}; "
        f"change the share with --{split}-fraction",
    )


def files_of(candidates: Sequence[Candidate]) -> int:
    """Return how many files ``build_study`` reads."""
    return len(candidates) + sum(patch.mask is not None for patch in candidates)


def build_study(folder: Path, taxonomy: Taxonomy, candidates: Sequence[Candidate], on_progress: Advance) -> Study:
    """Read every file once for hash and size and return the study, not yet written.

    Args:
        folder: the study folder to be.
        taxonomy: classes of the labels and masks.
        candidates: patches in their final splits.
        on_progress: called with the number of files just read.

    Raises:
        DataError: if not a single image can be read.
    """
    images = fingerprint_all([patch.path for patch in candidates], on_progress)
    if all(image.width_px is None for image in images):
        raise DataError(
            f"{candidates[0].path}: no image, and neither is any of the {len(candidates)} files; "
            "was the archive unpacked fully?"
        )
    masks = iter(fingerprint_all([patch.mask for patch in candidates if patch.mask is not None], on_progress))
    rows: list[dict[str, Any]] = [
        {
            "path": stored_path(patch.path, folder),
            "sha256": image.sha256,
            "split": patch.split,
            "group": patch.group,
            "mpp": patch.mpp,
            "width_px": image.width_px,
            "height_px": image.height_px,
            "labels": patch.labels,
            "mask": None if patch.mask is None else stored_path(patch.mask, folder),
            "mask_sha256": None if patch.mask is None else next(masks).sha256,
        }
        for patch, image in zip(candidates, images, strict=True)
    ]
    return Study(folder, taxonomy, make_table(rows))


def check_target(folder: Path, source: Path | None) -> None:
    """Make sure that a study may be written into a folder.

    Args:
        folder: the study folder to be.
        source: folder of the images, which may be the study folder itself.

    Raises:
        DataError: if the folder holds anything but a study.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file; choose a folder for the study with --out")
    same = source is not None and folder.resolve() == source.resolve()
    if not folder.is_dir() or same or (folder / MANIFEST).is_file():
        return
    if any(folder.iterdir()):
        raise DataError(f"{folder} is not empty and holds no study; choose another folder with --out")


def _labels_of(found: Sequence[FoundPatch], taxonomy: Taxonomy) -> list[str | None]:
    labels: list[str | None] = []
    problems: list[LabelError] = []
    for patch in found:
        try:
            digits = digits_in_name(patch.path, taxonomy)
        except LabelError as error:
            problems.append(error)
            continue
        if digits is None and patch.split == "train":
            problems.append(
                LabelError(
                    f"{patch.path.name}: training patch without labels in its name; {taxonomy.name} names end "
                    f"in [{'1' * len(taxonomy)}]-like digits, other data comes in with: "
                    "histoproto data import folder"
                )
            )
        labels.append(digits)
    refuse(problems)
    return labels
