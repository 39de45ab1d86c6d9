"""A pyramidal slide with a tissue section on white ground, and its exact mask."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from histoproto.atomic import replacing
from histoproto.data.phantom.layout import WHITE, Layout, Section
from histoproto.data.phantom.noise import Window
from histoproto.data.phantom.patient import Patient
from histoproto.data.phantom.tissue import render_window
from histoproto.errors import DataError
from histoproto.masks import write_mask
from histoproto.taxonomy import BCSS_WSSS

MPP = 0.5
"""Micrometres per pixel of the slide's first page."""

_TILE_PX = 512
_SMALLEST_PAGE_PX = 512
_REGION_UM = 220.0
_JPEG_QUALITY = 88


def write_slide(path: Path, *, width_px: int, height_px: int, seed: int) -> Path:
    """Write a pyramidal tiled TIFF and, beside it, its mask `<name>.mask.png`.

    The slide is rendered tile by tile; tissue and nuclei run on over the borders of the tiles. Tiles are JPEG, pages
    halve until they fit into 512 pixels, and every page carries its resolution, so that openslide and tifffile both
    know the micrometres per pixel.

    Args:
        path: The TIFF to write; an existing file is replaced.
        width_px: Width of the first page, in pixels of 0.5 micrometres.
        height_px: Height of the first page.
        seed: The same arguments give the same pixels.

    Returns:
        Path of the mask, a palette PNG of the first page's size: 0 tumour, 1 stroma, 2 lymphocytes, 3 necrosis,
        4 white.

    Raises:
        DataError: If the slide is smaller than 256 pixels on a side.
    """
    if min(width_px, height_px) < 256:
        raise DataError(f"{path}: a slide of {width_px}x{height_px} pixels is too small; give 256 or more")
    layout = Layout(seed=seed, region_um=_REGION_UM, section=_section(width_px, height_px, seed))
    patient = Patient.draw(seed)
    mask = np.full((height_px, width_px), WHITE, dtype=np.uint8)
    half = np.zeros((-(-height_px // 2), -(-width_px // 2), 3), dtype=np.uint8)

    def tiles() -> Iterator[NDArray[np.uint8]]:
        for top in range(0, height_px, _TILE_PX):
            for left in range(0, width_px, _TILE_PX):
                window = Window(top * MPP, left * MPP, _TILE_PX, _TILE_PX, MPP)
                tissue = render_window(patient, layout, window)
                place = mask[top : top + _TILE_PX, left : left + _TILE_PX]
                place[:] = tissue.mask[: place.shape[0], : place.shape[1]]
                small = half[top // 2 : (top + _TILE_PX) // 2, left // 2 : (left + _TILE_PX) // 2]
                small[:] = _halved(tissue.image)[: small.shape[0], : small.shape[1]]
                yield tissue.image

    with replacing(path) as temporary, tifffile.TiffWriter(temporary) as writer:
        _write_page(writer, tiles(), (height_px, width_px), MPP, reduced=False)
        page, mpp = half, 2 * MPP
        while True:
            _write_page(writer, _tiles_of(page), page.shape[:2], mpp, reduced=True)
            if max(page.shape) <= _SMALLEST_PAGE_PX:
                break
            page, mpp = _halved(page), 2 * mpp
    mask_path = path.with_name(f"{path.stem}.mask.png")
    write_mask(mask_path, mask, BCSS_WSSS)
    return mask_path


def _section(width_px: int, height_px: int, seed: int) -> Section:
    generator = np.random.default_rng([seed, 1])
    height_um, width_um = height_px * MPP, width_px * MPP
    shift = generator.uniform(-0.1, 0.1, 2)
    return Section(
        centre_um=(height_um / 2, width_um / 2),
        radii_um=(0.39 * height_um, 0.41 * width_um),
        mass_centre_um=(height_um * (0.5 + shift[0]), width_um * (0.5 + shift[1])),
        mass_radius_um=0.27 * min(height_um, width_um),
    )


def _write_page(
    writer: tifffile.TiffWriter,
    tiles: Iterator[NDArray[np.uint8]],
    shape: tuple[int, ...],
    mpp: float,
    *,
    reduced: bool,
) -> None:
    pixels_per_cm = 10_000 / mpp
    writer.write(
        tiles,
        shape=(shape[0], shape[1], 3),
        dtype=np.uint8,
        photometric="rgb",
        tile=(_TILE_PX, _TILE_PX),
        compression="jpeg",
        compressionargs={"level": _JPEG_QUALITY},
        resolution=(pixels_per_cm, pixels_per_cm),
        resolutionunit="CENTIMETER",
        subfiletype=1 if reduced else 0,
        metadata=None,
    )


def _halved(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mean of 2 x 2 pixels; odd sides repeat their last row or column first."""
    rows, columns = image.shape[0] % 2, image.shape[1] % 2
    even = np.pad(image, ((0, rows), (0, columns), (0, 0)), mode="edge")
    blocks = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2, 3).astype(np.uint16)
    return np.asarray((blocks.sum(axis=(1, 3)) + 2) // 4, dtype=np.uint8)


def _tiles_of(page: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    for top in range(0, page.shape[0], _TILE_PX):
        for left in range(0, page.shape[1], _TILE_PX):
            tile = page[top : top + _TILE_PX, left : left + _TILE_PX]
            # Tiles are of one size; what lies beyond the page is never shown.
            yield np.pad(tile, ((0, _TILE_PX - tile.shape[0]), (0, _TILE_PX - tile.shape[1]), (0, 0)), mode="edge")
