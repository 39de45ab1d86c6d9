"""Hash and size of many files at once."""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from PIL import Image

Advance = Callable[[int], None]
"""Called with the number of files just finished."""


class Fingerprint(NamedTuple):
    """What one look at a file tells; None where it tells nothing."""

    sha256: str | None
    width_px: int | None
    height_px: int | None


def fingerprint(path: Path) -> Fingerprint:
    """Return hash and size of a file; missing or undecodable ones give None, for ``data check`` to report."""
    try:
        content = path.read_bytes()
    except OSError:
        return Fingerprint(None, None, None)
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        with Image.open(BytesIO(content)) as image:
            return Fingerprint(sha256, image.width, image.height)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return Fingerprint(sha256, None, None)


def fingerprint_all(paths: Sequence[Path], on_progress: Advance) -> list[Fingerprint]:
    """Return the fingerprints of files in their order, reading several at once.

    Args:
        paths: files to read.
        on_progress: called from this thread after each file.
    """
    found: list[Fingerprint] = []
    with ThreadPoolExecutor(max_workers=min(16, 2 * (os.cpu_count() or 1))) as pool:
        for result in pool.map(fingerprint, paths):
            found.append(result)
            on_progress(1)
    return found
