"""Names of outputs that belong to inputs."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path


def unique_names(paths: Sequence[Path]) -> list[str]:
    """Return one name per file, the same for the same file: its stem where that is unique, else with folders before it.

    ``s1/4.png`` and ``s2/4.png`` become ``s1_4`` and ``s2_4``, ``a.png`` and ``a.jpg`` become ``a_png`` and ``a_jpg``.

    Args:
        paths: input files; a file that is named twice gets its name twice.
    """
    files = list(dict.fromkeys(path.absolute() for path in paths))
    names = {file: file.stem for file in files}
    for depth in range(1, max((len(file.parts) for file in files), default=0) + 1):
        counts = Counter(names.values())
        for file in files:
            if counts[names[file]] > 1:
                names[file] = "_".join([*file.parts[-depth:-1], file.stem, *_suffix(file, files)])
    return [names[path.absolute()] for path in paths]


def _suffix(file: Path, files: Sequence[Path]) -> list[str]:
    """Return the suffix where it alone tells two files of one folder apart."""
    twins = sum(other.with_suffix("") == file.with_suffix("") for other in files)
    return [file.suffix.lstrip(".")] if twins > 1 else []
