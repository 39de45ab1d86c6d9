"""What has to be known about a data set whose labels stand in its file names."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from histoproto.taxonomy import Taxonomy


@dataclass(frozen=True)
class DataSheet:
    """One published patch data set."""

    taxonomy: Taxonomy
    group_of: Callable[[Path, str], str]
    """From file and split to the source slide or patient."""
    mpp: float | None
    """Microns per pixel where the file's name does not say."""
