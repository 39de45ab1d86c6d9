"""Open an image of any kind: the one place that chooses how a file is read."""

from pathlib import Path
from typing import Any

from histoproto.errors import ConfigError, DataError
from histoproto.slides.flat import FlatReader
from histoproto.slides.mpp import PLAUSIBLE_MPP, plausible_mpp
from histoproto.slides.pages import PagedReader
from histoproto.slides.scanner import ScannerReader, openslide_module
from histoproto.slides.tiff import TiffReader, TiffTags, is_tiff

FLAT_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
"""File name endings of images that are decoded whole, lower case."""
SCANNER_SUFFIXES = (".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide", ".czi", ".dcm")
"""Endings of files for which openslide is needed."""


def open_image(path: Path, *, assume_mpp: float | None = None) -> PagedReader:
    """Open a patch, a photograph or a slide.

    Args:
        path: PNG, JPEG, BMP, TIFF (plain, tiled or pyramidal), or whatever openslide reads.
        assume_mpp: microns per pixel of the finest page, used where the file does not say.

    Raises:
        DataError: if the file cannot be read, in one sentence.
        ConfigError: if ``assume_mpp`` can be no microscope's.
    """
    if assume_mpp is not None and plausible_mpp(assume_mpp) is None:
        low, high = PLAUSIBLE_MPP
        raise ConfigError(
            f"{assume_mpp:g} microns per pixel are not plausible; give {low:g} to {high:g}, for a 20x scan usually 0.5"
        )
    if not path.is_file():
        raise DataError(f"{path}: no such file; check its name")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty; copy it again from its source")
    reader = FlatReader(path, None) if path.suffix.lower() in FLAT_SUFFIXES else _open_slide(path, openslide_module())
    if reader.mpp is None:
        reader.mpp = assume_mpp
    return reader


def _open_slide(path: Path, openslide: Any | None) -> PagedReader:
    vendor = openslide.OpenSlide.detect_format(path) if openslide else None
    if vendor not in (None, "generic-tiff"):
        return ScannerReader(path, openslide)
    if not is_tiff(path):
        return _open_other(path, openslide)
    tags = TiffTags(path)
    try:
        reader = _open_tiff(tags, openslide if vendor else None)
    except DataError:
        tags.close()
        raise
    if not isinstance(reader, TiffReader):
        tags.close()
    return reader


def _open_tiff(tags: TiffTags, openslide: Any | None) -> PagedReader:
    if tags.flat:
        return FlatReader(tags.path, tags.mpp)
    tags.require_rgb()
    return ScannerReader(tags.path, openslide) if openslide else TiffReader(tags)


def _open_other(path: Path, openslide: Any | None) -> PagedReader:
    if openslide is None and path.suffix.lower() in SCANNER_SUFFIXES:
        raise DataError(f'{path}: reading this format needs openslide; install it: pip install "histoproto[wsi]"')
    return FlatReader(path, None)
