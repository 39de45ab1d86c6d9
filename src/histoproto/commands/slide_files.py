"""Which slides a command line names."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from histoproto.commands.slide_table import once_each, read_slide_table
from histoproto.errors import ConfigError, DataError


def slide_files(inputs: Sequence[Path]) -> dict[Path, float | None]:
    """Return the slides among the inputs, each with its microns per pixel where a table gives them.

    In a folder, slides are what scanners and TIFF writers write; a PNG or JPEG has to be named itself.

    Args:
        inputs: slides, folders of them, opened one level deep, or CSV tables.

    Raises:
        DataError: if an input does not exist, a folder holds no slide, a table is wrong, or two slides have one name.
    """
    files = named_files(inputs, _inside)
    name, count = Counter(file.stem for file in files).most_common(1)[0]
    if count > 1:
        first, second = [file for file in files if file.stem == name][:2]
        raise DataError(
            f"{first} and {second} are both called {name}, and so would be what is written for them; "
            "take one after the other, into two folders"
        )
    return files


def named_files(inputs: Sequence[Path], inside: Callable[[Path], list[Path]]) -> dict[Path, float | None]:
    """Return the files that inputs name, each once, with its microns per pixel where a table gives them.

    Args:
        inputs: files, folders, or CSV tables of slides.
        inside: the files of a folder.

    Raises:
        DataError: if an input does not exist, or a table is wrong.
    """
    named: list[tuple[Path, float | None]] = []
    for path in inputs:
        if path.is_dir():
            named += [(file, None) for file in inside(path)]
        elif not path.is_file():
            raise DataError(f"{path}: no such file or folder; check its name")
        elif path.suffix.lower() == ".csv":
            named += read_slide_table(path).items()
        else:
            named.append((path, None))
    return once_each(named)


def require_assumed_mpp(mpp: float | None) -> None:
    """Check the option ``--assume-mpp`` before anything is begun.

    Raises:
        ConfigError: if it can be no microscope's.
    """
    from histoproto.slides.mpp import PLAUSIBLE_MPP, plausible_mpp

    if mpp is not None and plausible_mpp(mpp) is None:
        low, high = PLAUSIBLE_MPP
        raise ConfigError(f"--assume-mpp {mpp:g}: give {low:g} to {high:g} microns per pixel, usually 0.5 for 20x")


def print_failures(failed: Mapping[str, str]) -> None:
    """Print a line per slide that failed.

    Args:
        failed: reasons by file; most begin with the file themselves.
    """
    from rich.console import Console

    for file, reason in failed.items():
        line = reason if file in reason else f"{file}: {reason}"
        Console().print(f"failed: {line}", soft_wrap=True, markup=False, highlight=False)


def _inside(folder: Path) -> list[Path]:
    from histoproto.slides.reader import SCANNER_SUFFIXES

    suffixes = {".svs", ".tif", ".tiff", *SCANNER_SUFFIXES}
    found = sorted(file for file in folder.iterdir() if file.suffix.lower() in suffixes and file.name[0] != ".")
    if not found:
        raise DataError(f"{folder}: no slides in this folder; name slides or a folder that has some")
    return [file for file in found if file.is_file()]
