"""Physical size: microns per pixel, from what a file says about itself."""

import re
from pathlib import Path

from histoproto.errors import DataError
from histoproto.slides.pages import PagedReader

PLAUSIBLE_MPP = (0.01, 10.0)
"""Range of microns per pixel that a microscope's finest page may have; a printer's 72 dpi (353) is none."""

_MICRONS_PER_UNIT = {2: 25_400.0, 3: 10_000.0}
"""Of the TIFF tag ResolutionUnit: inch and centimetre."""

_DULL = re.compile(r"openslide\.(level|associated|icc|quickhash|comment)")
"""Properties that say nothing about physical size, or say it twice."""


def plausible_mpp(mpp: float | None) -> float | None:
    """Return microns per pixel, or None where the value can only be a placeholder."""
    low, high = PLAUSIBLE_MPP
    return mpp if mpp is not None and low <= mpp <= high else None


def square_mpp(path: Path, across: float, down: float) -> float | None:
    """Return the common microns per pixel of both axes; None where they can only be placeholders.

    Raises:
        DataError: if they differ by more than 1 %: tissue would be stretched.
    """
    if plausible_mpp(across) is None or plausible_mpp(down) is None:
        return None
    if abs(across - down) > 0.01 * min(across, down):
        raise DataError(
            f"{path}: pixels of {across:.4g} x {down:.4g} micrometres are not square; export it again with square ones"
        )
    return (across + down) / 2


def mpp_by_resolution(path: Path, across: float, down: float, unit: int) -> float | None:
    """Return microns per pixel by TIFF tags, None where they can only be placeholders.

    Args:
        path: the file, for errors.
        across: tag XResolution, pixels per unit.
        down: tag YResolution.
        unit: tag ResolutionUnit; 2 is inch, 3 centimetre, 1 none.

    Raises:
        DataError: as ``square_mpp``.
    """
    microns = _MICRONS_PER_UNIT.get(unit)
    if microns is None or across <= 0 or down <= 0:
        return None
    return square_mpp(path, microns / across, microns / down)


def require_mpp(reader: PagedReader) -> float:
    """Return the microns per pixel of the finest page.

    Raises:
        DataError: if neither the file nor the user says, with the properties found.
    """
    if reader.mpp is not None:
        return reader.mpp
    found = [f"{name} = {_short(value)}" for name, value in sorted(reader.properties.items()) if not _DULL.search(name)]
    raise DataError(
        f"{reader.path} does not say its microns per pixel; give it with --assume-mpp, usually 0.5 for a 20x and 0.25 "
        f"for a 40x scan (properties found: {', '.join(found) or 'none'})"
    )


def _short(value: str) -> str:
    line = " ".join(value.split())
    return line if len(line) <= 60 else f"{line[:60]}..."
