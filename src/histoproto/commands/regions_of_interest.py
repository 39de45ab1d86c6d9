"""Regions that somebody has drawn on slides, as ``--region`` names them."""

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from histoproto.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

    from histoproto.formats.qupath import QuPathObject
    from histoproto.slides.areas import AreaOfInterest
    from histoproto.slides.pages import PagedReader

TISSUE = "Tissue"
"""Class of outlines that say where tissue is."""
ENDINGS = (".geojson", ".geojson.gz")


def region_files(folder: Path, slide: Path) -> list[Path]:
    """Return the files in a folder that hold the regions of a slide: ``NAME.geojson`` or ``NAME.svs.geojson``, or .gz.

    Args:
        folder: need not exist.
        slide: gives the name.
    """
    names = [name + ending for name in dict.fromkeys((slide.stem, slide.name)) for ending in ENDINGS]
    return [folder / name for name in names if (folder / name).is_file()]


def require_own_regions(path: Path, slides: Sequence[Path]) -> None:
    """Check that no regions would be taken for those of two slides.

    Args:
        path: a GeoJSON file of QuPath, or a folder in which each slide has one (see ``region_files``).
        slides: all slides of a command, each once.

    Raises:
        DataError: if there is no such file or folder, or if a file would serve two slides.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; --region takes what histoproto slides tissue --out made")
    if not path.is_dir():
        if len(slides) > 1:
            raise DataError(
                f"--region {path} is one file, drawn on one slide, but {len(slides)} inputs are named; give a folder "
                "with NAME.geojson for each"
            )
        return
    taken: dict[Path, Path] = {}
    for slide in slides:
        for file in region_files(path, slide):
            other = taken.setdefault(file, slide)
            if other is not slide:
                raise DataError(
                    f"{file} would serve both {other} and {slide}; take one after the other, each with its own --region"
                )


def names_of(regions: "Sequence[QuPathObject]") -> list[str]:
    """Return a name for each region, none twice and none ``slide``: its own, its class's, or ``region``."""
    given = [region.label or region.name or "region" for region in regions]
    names = {"slide": None}
    for name in given:
        others = (f"{name} ({number})" for number in count(2))
        free = (other for other in others if other not in names and other not in given)
        names[next(free) if name in names else name] = None
    return list(names)[1:]


def rings_of(regions: "Sequence[QuPathObject]") -> "dict[str, list[Float[np.ndarray, 'points 2']]]":
    """Return the closed outlines of each region, holes behind, by its name; tissue, which shows itself, is left out.

    Args:
        regions: in pixels of the slide's finest page, as the outlines are.
    """
    import shapely

    return {
        name: [shapely.get_coordinates(ring) for ring in shapely.get_rings(shapely.get_parts(region.geometry))]
        for name, region in zip(names_of(regions), regions, strict=True)
        if region.name != TISSUE
    }


def read_regions(path: Path, slide: Path) -> "list[QuPathObject]":
    """Return the regions that were drawn on a slide, in pixels of its finest page, whatever QuPath cuts off.

    Args:
        path: a GeoJSON file of QuPath, or a folder in which each slide has one (see ``region_files``).
        slide: the slide.

    Raises:
        DataError: if there is no such file or more than one, if it holds no region, or if a region lies outside the
            slide for more than half.
        ConfigError: if shapely or rasterio is not installed.
    """
    from dataclasses import replace

    import numpy as np
    import shapely

    from histoproto.formats.qupath import read_qupath
    from histoproto.slides.areas import require_polygons, shown_corner
    from histoproto.slides.reader import open_image

    require_polygons()
    file = _file_of(path, slide)
    drawn = read_qupath(file)
    if not drawn:
        raise DataError(f"{file}: no region in it; draw one in QuPath, or leave the slide out")
    reader = open_image(slide)
    reader.close()
    corner = np.array(shown_corner(reader))
    page = shapely.box(0, 0, reader.width_px, reader.height_px)
    regions = []
    for number, entry in enumerate(drawn, start=1):
        geometry = shapely.transform(entry.geometry, lambda points: points + corner)
        if geometry.intersection(page).area < geometry.area / 2:
            left, top, right, below = (round(edge) for edge in geometry.bounds)
            raise DataError(
                f"{file}: region {number} reaches from x {left}, y {top} to x {right}, y {below}, mostly outside "
                f"{slide.name} of {reader.width_px} x {reader.height_px} px; was it drawn on another slide?"
            )
        regions.append(replace(entry, geometry=geometry))
    return regions


def _file_of(path: Path, slide: Path) -> Path:
    if not path.is_dir():
        if not path.is_file():
            raise DataError(f"{path}: no such file or folder; regions are GeoJSON files of QuPath")
        return path
    found = region_files(path, slide)
    if not found:
        raise DataError(
            f"{path}: no {slide.stem}.geojson in this folder; draw it in QuPath, or make it with "
            f"histoproto slides tissue {slide} --out {path}"
        )
    if len(found) > 1:
        raise DataError(f"{path}: {found[0].name} and {found[1].name} both belong to {slide.name}; remove one")
    return found[0]


def area_of_interest(reader: "PagedReader", scale: float, regions: "list[QuPathObject] | None") -> "AreaOfInterest":
    """Return what counts of a slide: its tissue, and of that what lies in regions, if there are any.

    Regions of the class *Tissue*, as ``histoproto slides tissue`` writes them, say themselves where tissue is: somebody
    may have added what the program had missed.

    Args:
        reader: the slide.
        scale: pixels of its finest page per pixel of the reader that will be asked about.
        regions: from ``read_regions``, or None.

    Raises:
        DataError: if the slide does not say its microns per pixel, or cannot be decoded.
    """
    from histoproto.slides.areas import AreaOfInterest
    from histoproto.slides.tissue import tissue_of

    if regions is None:
        return AreaOfInterest(scale, tissue=tissue_of(reader))
    polygons = [region.geometry for region in regions]
    if any(region.name == TISSUE for region in regions):
        return AreaOfInterest(scale, polygons=polygons)
    return AreaOfInterest(scale, tissue=tissue_of(reader), polygons=polygons)
