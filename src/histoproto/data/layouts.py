"""Finding images and masks in the folder layouts in which the patch data sets are passed around.

A split is a folder called ``training``, ``train`` or ``1.training``; ``val``, ``valid``, ``validation`` or
``2.validation``; ``test``, ``testing`` or ``3.testing``. It holds images flat, or ``img`` beside ``mask``.
Other folders, such as ``background-mask``, and files that are no images are left alone.
"""

from dataclasses import dataclass
from pathlib import Path

from histoproto.errors import DataError
from histoproto.images import IMAGE_SUFFIXES

SPLIT_FOLDERS = {
    "train": ("training", "train", "1.training"),
    "val": ("val", "valid", "validation", "2.validation"),
    "test": ("test", "testing", "3.testing"),
}


@dataclass(frozen=True)
class FoundPatch:
    """An image file, its split by folder, and the mask of the same name if there is one."""

    path: Path
    split: str
    mask: Path | None


def find_patches(root: Path) -> list[FoundPatch]:
    """Return every patch under a data set's folder, ordered by split and name.

    Raises:
        DataError: if the folder is missing, empty, without split folders, or has two folders for one split.
    """
    folders = _split_folders(root)
    patches = [patch for split, folder in folders.items() for patch in _patches_of(folder, split)]
    if not patches:
        where = ", ".join(folder.name for folder in folders.values())
        raise DataError(f"{root}: no images ({', '.join(IMAGE_SUFFIXES)}) in {where}; was the archive unpacked fully?")
    return patches


def image_files(folder: Path) -> list[Path]:
    """Return the image files directly in a folder, hidden ones left out, ordered by name."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and not path.is_dir()
    )


def _split_folders(root: Path) -> dict[str, Path]:
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give the folder that holds train, val and test")
    inside = sorted(path for path in root.iterdir() if path.is_dir())
    folders: dict[str, Path] = {}
    for split, names in SPLIT_FOLDERS.items():
        matching = [path for path in inside if path.name.lower() in names]
        if len(matching) > 1:
            raise DataError(f"{root}: {' and '.join(path.name for path in matching)} both mean {split}; move one away")
        if matching:
            folders[split] = matching[0]
    if not folders:
        found = ", ".join(path.name for path in sorted(root.iterdir())[:5]) or "nothing at all"
        raise DataError(
            f"{root}: no folder called train, training, val, valid, validation or test in it (found: {found}); "
            "give the folder that holds them"
        )
    return folders


def _patches_of(folder: Path, split: str) -> list[FoundPatch]:
    home = folder / "img" if (folder / "img").is_dir() else folder
    masks = {path.stem: path for path in image_files(folder / "mask")} if (folder / "mask").is_dir() else {}
    return [FoundPatch(path, split, masks.get(path.stem)) for path in image_files(home)]
