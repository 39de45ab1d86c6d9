"""Which slides a command line names."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from histoproto.errors import DataError


def slide_files(inputs: Sequence[Path]) -> list[Path]:
    """Return the slides among the inputs, folders opened one level deep, in order of their names.

    In a folder, slides are what scanners and TIFF writers write; a PNG or JPEG has to be named itself.

    Raises:
        DataError: if an input does not exist, a folder holds no slide, or two slides have one name.
    """
    files: list[Path] = []
    for path in inputs:
        if path.is_dir():
            files += _inside(path)
        elif path.is_file():
            files.append(path)
        else:
            raise DataError(f"{path}: no such file or folder; check its name")
    files = list(dict.fromkeys(files))
    name, count = Counter(file.stem for file in files).most_common(1)[0]
    if count > 1:
        first, second = [file for file in files if file.stem == name][:2]
        raise DataError(
            f"{first} and {second} are both called {name}, and so would be what is written for them; "
            "take one after the other, into two folders"
        )
    return files


def _inside(folder: Path) -> list[Path]:
    from histoproto.slides.reader import SCANNER_SUFFIXES

    suffixes = {".svs", ".tif", ".tiff", *SCANNER_SUFFIXES}
    found = sorted(file for file in folder.iterdir() if file.suffix.lower() in suffixes and file.name[0] != ".")
    if not found:
        raise DataError(f"{folder}: no slides in this folder; name slides or a folder that has some")
    return [file for file in found if file.is_file()]
