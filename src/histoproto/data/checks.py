"""Everything that can be wrong with a study, found before training rather than during it."""

import os
import re
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import pandas as pd

from histoproto.data.looks import Look, look_at
from histoproto.data.manifest import MANIFEST_CSV, Study

Severity = Literal["error", "warning", "note"]
"""Errors stop training or falsify its numbers; warnings may be meant so; notes are for knowing."""

Advance = Callable[[int], None]
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Problem:
    """One kind of trouble and the files that have it."""

    severity: Severity
    what: str
    files: tuple[str, ...]
    """As the manifest names them; empty for what concerns the study as a whole."""
    fix: str


@dataclass(frozen=True)
class _Patch:
    """A row of the manifest as plain text, and its look."""

    path: str
    split: str
    group: str
    labels: str | None
    mask: str | None
    look: Look


def check_study(study: Study, on_progress: Advance) -> list[Problem]:
    """Decode every image and mask and return what is wrong, errors first.

    Args:
        study: what ``read_study`` returned.
        on_progress: called with the number of patches just looked at.
    """
    rows = study.table.to_dict("records")
    patches = []
    with ThreadPoolExecutor(max_workers=2 * (os.cpu_count() or 1)) as pool:  # some wait for the disk
        for patch in pool.map(lambda row: _look(study, row), rows):
            patches.append(patch)
            on_progress(1)
    problems = [problem for check in _CHECKS for problem in check(study, patches)]
    order = {"error": 0, "warning": 1, "note": 2}
    return sorted(problems, key=lambda problem: order[problem.severity])


def _look(study: Study, row: dict[Any, Any]) -> _Patch:
    labels, mask = (None if pd.isna(row[name]) else str(row[name]) for name in ("labels", "mask"))
    path = str(row["path"])
    look = look_at(study.absolute(path), study.absolute(mask) if mask else None, study.taxonomy)
    return _Patch(path, str(row["split"]), str(row["group"]), labels, mask, look)


def _unreadable(study: Study, patches: list[_Patch]) -> Iterator[Problem]:
    del study
    images = ((patch.path, patch.look.image_complaint) for patch in patches)
    masks = ((patch.mask, patch.look.mask_complaint) for patch in patches)
    alike: dict[str, list[tuple[str, str, str]]] = {}
    for file, complaint in (*images, *masks):
        if file is not None and complaint is not None:
            kind = re.sub(r"[\d.]+", "#", complaint.what)  # 43% and 44% transparent are one kind
            alike.setdefault(kind, []).append((file, complaint.what, complaint.fix))
    for found in alike.values():
        _, what, fix = found[0]
        yield Problem("error", what, tuple(file for file, _, _ in found), fix)


def _sizes(study: Study, patches: list[_Patch]) -> Iterator[Problem]:
    del study
    training = [patch for patch in patches if patch.split in {"train", "holdout"} and patch.look.size]
    by_size = _by(training, lambda patch: patch.look.size or (0, 0))
    if len(by_size) < 2:
        return
    (width_px, height_px), usual = max(by_size.items(), key=lambda item: len(item[1]))
    if len(usual) > len(training) / 2:
        yield Problem(
            "error",
            f"training patch of another size than {width_px} x {height_px} px",
            _paths(patch for patch in training if patch.look.size != (width_px, height_px)),
            "cut it to that size or take it out",
        )
    else:
        yield Problem(
            "note",
            f"training patches of {len(by_size)} sizes",
            _paths(training),
            f"train with --patch-px, for example --patch-px {min(width_px, height_px)}",
        )


def _conversions(study: Study, patches: list[_Patch]) -> Iterator[Problem]:
    del study
    for mode, members in _by(patches, lambda patch: patch.look.converted_from).items():
        if mode is not None:
            yield Problem("note", f"{mode} image, read as RGB", _paths(members), "nothing to do")


def _blanks(study: Study, patches: list[_Patch]) -> Iterator[Problem]:
    del study
    blank = [patch.path for patch in patches if patch.look.one_colour]
    yield from _if_any("warning", "image of a single colour", blank, "take it out unless it is meant so")


def _labels(study: Study, patches: list[_Patch]) -> Iterator[Problem]:
    count = len(study.taxonomy)
    wrong, empty, missing = [], [], []
    for patch in patches:
        if patch.labels is None:
            missing += [patch.path] * (patch.split in {"train", "holdout"})
        elif len(patch.labels) != count or set(patch.labels) - {"0", "1"}:
            wrong.append(patch.path)
        elif "1" not in patch.labels:
            empty.append(patch.path)
    names = ", ".join(study.taxonomy.classes)
    yield from _if_any("error", f"labels are not {count} digits for {names}", wrong, "correct them and import again")
    yield from _if_any("error", "training patch without labels", missing, "label it and import again")
    yield from _if_any("warning", "labels name no class at all", empty, "take it out unless it is meant so")


def _classes(study: Study, patches: list[_Patch]) -> Iterator[Problem]:
    training = [patch.labels for patch in patches if patch.split == "train" and patch.labels]
    if not any(patch.split == "train" for patch in patches):
        yield Problem("warning", "no training patches", (), "fine for evaluation; training needs some")
        return
    for place, name in enumerate(study.taxonomy.classes):
        if not any(labels[place : place + 1] == "1" for labels in training):
            yield Problem(
                "error", f"class {name} has no example in train", (), "add patches with it, or import without it"
            )


def _masks(study: Study, patches: list[_Patch]) -> Iterator[Problem]:
    del study
    for split in ("val", "test"):
        inside = [patch for patch in patches if patch.split == split]
        missing = [patch.path for patch in inside if patch.mask is None]
        if len(missing) < len(inside):
            yield from _if_any(
                "error", f"{split} image without mask", missing, "add a mask of the same name or take it out"
            )
        elif any(patch.labels is None for patch in inside):
            yield from _if_any(
                "warning", f"{split} image with neither mask nor labels", missing, "add masks to evaluate on it"
            )


def _leaks(study: Study, patches: list[_Patch]) -> Iterator[Problem]:
    del study
    for group, members in _by(patches, lambda patch: patch.group).items():
        splits = sorted({patch.split for patch in members})
        if len(splits) > 1:
            yield Problem(
                "error",
                f"source {group} is in {' and '.join(splits)}",
                _paths(members),
                "keep all patches of a slide or patient in one split",
            )
    across: list[str] = []
    within: list[str] = []
    for digest, members in _by(patches, lambda patch: patch.look.pixel_hash).items():
        if digest is not None and len(members) > 1:
            leak = len({patch.split for patch in members}) > 1
            (across if leak else within).extend(_paths(members))
    yield from _if_any("error", "same pixels in two splits", across, "keep one of them")
    yield from _if_any("warning", "same pixels twice in one split", within, "keep one of them")


def _changes(study: Study, patches: list[_Patch]) -> Iterator[Problem]:
    stale = []
    for row, patch in zip(study.table.to_dict("records"), patches, strict=True):
        if _differs(row["sha256"], patch.look.sha256):
            stale.append(patch.path)
        if patch.mask is not None and _differs(row["mask_sha256"], patch.look.mask_sha256):
            stale.append(patch.mask)
    yield from _if_any("error", "file changed since the import", stale, "import again")
    table = study.folder / MANIFEST_CSV
    if table.is_file() and table.read_text(encoding="utf-8") != study.table.to_csv(index=False, lineterminator="\n"):
        yield Problem(
            "warning", f"{MANIFEST_CSV} was edited, which has no effect", (), "change the source, import again"
        )


def _differs(imported: Any, now: str | None) -> bool:
    return now is not None and not pd.isna(imported) and str(imported) != now


_CHECKS = (_unreadable, _sizes, _conversions, _blanks, _labels, _classes, _masks, _leaks, _changes)


def _if_any(severity: Severity, what: str, files: list[str], fix: str) -> Iterator[Problem]:
    if files:
        yield Problem(severity, what, tuple(files), fix)


def _by(patches: Iterable[_Patch], key: Callable[[_Patch], Key]) -> dict[Key, list[_Patch]]:
    groups: dict[Key, list[_Patch]] = {}
    for patch in patches:
        groups.setdefault(key(patch), []).append(patch)
    return groups


def _paths(patches: Iterable[_Patch]) -> tuple[str, ...]:
    return tuple(patch.path for patch in patches)
