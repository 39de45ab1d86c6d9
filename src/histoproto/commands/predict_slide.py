"""Predict a slide: its maps on disk block by block, then the files that other programs open."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoproto.errors import DataError

if TYPE_CHECKING:
    from histoproto.contracts import Region, SlideReader
    from histoproto.formats.qupath import QuPathObject
    from histoproto.inference.gate import Gate
    from histoproto.slides.canvas import Canvas
    from histoproto.slides.pages import PagedReader
    from histoproto.taxonomy import Taxonomy
    from histoproto.wiring.runs import Run

MAPS = ".maps"
"""Folder of the maps while they are made."""
SMALLEST_UM2 = 100.0
"""Regions that cover less get no outline; areas count them."""
TOLERANCE_PX = 1.0
"""How far outlines may lie beside the pixels' edges."""
OVERVIEW_PX = 2048
"""Longer side of the overlay."""


def predict_slide(
    trained: "Run",
    gate: "Gate",
    source: "PagedReader",
    reader: "SlideReader",
    regions: "list[QuPathObject] | None",
    folder: Path,
) -> dict[str, Any]:
    """Write the results of a slide and return its areas and what could not be read.

    Args:
        trained: the model.
        gate: which classes it lets in.
        source: the slide.
        reader: the slide at the resolution of the training patches.
        regions: what to predict, in pixels of the slide's finest page; None is all of its tissue.
        folder: receives the results.

    Raises:
        DataError: if nothing of the slide can be read.
        ConfigError: if packages of the extra ``wsi`` are not installed.
        OSError: if the disk is full.
    """
    from histoproto.commands.regions_of_interest import area_of_interest
    from histoproto.formats.slide_packages import require
    from histoproto.inference.slide import SlidePrediction
    from histoproto.progress import progress_bar

    require("the map of a slide", "zarr", "rasterio", "shapely", "geopandas")
    from histoproto.slides.canvas import canvas

    scale = (reader.mpp or 1.0) / (source.mpp or 1.0)  # not by the widths, which are whole pixels
    area = area_of_interest(source, scale, regions)
    prediction = SlidePrediction(trained.model, reader, gate, trained.settings.inference, area)
    taxonomy = trained.taxonomy
    with canvas(folder / MAPS, reader.height_px, reader.width_px, len(taxonomy)) as maps:
        with progress_bar(f"Tiles of {source.path.name}", prediction.tiles) as advance:
            maps.write_all(prediction.blocks(advance))
        areas = _write_areas(folder, maps, taxonomy, reader, regions, scale)
        unreadable = _on_finest_page(prediction.unreadable, scale)
        if unreadable and prediction.read_px == 0:
            raise DataError(f"{source.path}: none of its tissue can be read; copy the slide again from its source")
        _write_maps(folder, maps, taxonomy, reader)
        _write_outlines(folder, maps, taxonomy, source, reader, scale)
        _write_overview(folder, maps, taxonomy, source, areas, regions or [])
    return {"areas": areas, "unreadable": unreadable, "tiles": prediction.tiles}


def _write_areas(
    folder: Path,
    maps: "Canvas",
    taxonomy: "Taxonomy",
    reader: "SlideReader",
    regions: "list[QuPathObject] | None",
    scale: float,
) -> dict[str, Any]:
    from histoproto.commands.regions_of_interest import names_of
    from histoproto.formats.areas import areas_of_counts, with_undecided, write_areas
    from histoproto.formats.counting import count_values, count_within

    everything = count_values(maps.labels)
    whole = areas_of_counts(everything, taxonomy, reader.mpp)
    rows = [("slide", with_undecided(whole, everything, reader.mpp))]
    if regions:
        counts = count_within(maps.labels, [region.geometry for region in regions], scale=(scale, scale))
        rows += [
            (name, with_undecided(areas_of_counts(inside, taxonomy, reader.mpp), inside, reader.mpp))
            for name, inside in zip(names_of(regions), counts, strict=True)
        ]
    write_areas(folder / "areas.csv", rows)
    return dict(whole)


def _write_maps(folder: Path, maps: "Canvas", taxonomy: "Taxonomy", reader: "SlideReader") -> None:
    from histoproto.formats.ome_tiff import write_labels, write_probabilities
    from histoproto.slides.samples import SAMPLE_PX

    write_labels(folder / "labels.ome.tif", maps.labels, taxonomy, reader.mpp)
    coarse_mpp = None if reader.mpp is None else SAMPLE_PX * reader.mpp
    write_probabilities(folder / "probabilities.ome.tif", maps.probabilities, taxonomy, coarse_mpp)


def _write_outlines(
    folder: Path, maps: "Canvas", taxonomy: "Taxonomy", source: "PagedReader", reader: "SlideReader", scale: float
) -> None:
    from histoproto.formats.geoparquet import read_geoparquet, write_geoparquet
    from histoproto.formats.qupath import write_qupath
    from histoproto.formats.regions import as_qupath, regions_of
    from histoproto.slides.areas import shown_corner

    left, top = shown_corner(source)
    pixel_um2 = (reader.mpp or 1.0) ** 2
    table = folder / "regions.parquet"
    found = regions_of(
        maps.labels,
        maps.confidence,
        taxonomy,
        mpp=reader.mpp,
        scale=(scale, scale),
        offset=(float(-left), float(-top)),
        smallest_px=max(1, round(SMALLEST_UM2 / pixel_um2)),
        tolerance_px=TOLERANCE_PX,
    )
    write_geoparquet(table, found)
    # outlines are dear: the second file is made from the first
    regions = read_geoparquet(table, taxonomy)
    write_qupath(folder / "regions.geojson.gz", (as_qupath(region, taxonomy) for region in regions))


def _write_overview(
    folder: Path,
    maps: "Canvas",
    taxonomy: "Taxonomy",
    source: "PagedReader",
    areas: dict[str, Any],
    regions: "list[QuPathObject]",
) -> None:
    from histoproto.commands.regions_of_interest import rings_of
    from histoproto.formats.overlay import write_overlay
    from histoproto.slides.resample import thumbnail

    step = max(1, -(-max(maps.labels.shape) // OVERVIEW_PX))
    photograph = thumbnail(source, OVERVIEW_PX, lambda _part: None)  # where it is damaged the labels say so
    width_um = None if source.mpp is None else source.width_px * source.mpp
    shrunk = photograph.shape[1] / source.width_px
    rings = {name: [ring * shrunk for ring in own] for name, own in rings_of(regions).items()}
    write_overlay(folder / "overlay.png", photograph, maps.labels[::step, ::step], taxonomy, areas, width_um, rings)


def _on_finest_page(parts: "list[Region]", scale: float) -> list[dict[str, int]]:
    """Return parts of the reader in pixels of the finest page, each once, in order."""
    return [
        {name: round(value * scale) for name, value in part._asdict().items()} for part in dict.fromkeys(sorted(parts))
    ]
