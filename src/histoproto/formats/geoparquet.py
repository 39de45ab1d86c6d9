"""Regions as GeoParquet, for geopandas, DuckDB, R and QGIS.

GeoParquet 1.1 with well-known binary geometries and no coordinate reference system: coordinates are pixels.
"""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from histoproto.atomic import replacing
from histoproto.formats.regions import Region
from histoproto.formats.slide_packages import require
from histoproto.taxonomy import Taxonomy

REGIONS_AT_ONCE = 1000
"""Regions per row group, all that is held in memory."""
_GEO = {
    "version": "1.1.0",
    "primary_column": "geometry",
    "columns": {"geometry": {"encoding": "WKB", "geometry_types": ["Polygon", "MultiPolygon"], "crs": None}},
}


def write_geoparquet(path: Path, regions: Iterable[Region]) -> None:
    """Write regions with the columns class, area_mm2, pixels, mean_confidence and geometry, atomically, as they come.

    Args:
        path: ends in ``.parquet``.
        regions: taken ``REGIONS_AT_ONCE`` at a time; none give a table without rows.

    Raises:
        ValueError: if the file's ending is another one.
        ConfigError: if shapely is not installed.
    """
    if path.suffix.lower() != ".parquet":
        raise ValueError(f"{path}: a GeoParquet file ends in .parquet")
    require("GeoParquet", "shapely")
    from pyarrow.parquet import ParquetWriter

    schema = _schema()
    with replacing(path) as temporary, ParquetWriter(temporary, schema, compression="zstd") as writer:
        for chunk in _chunks(regions):
            writer.write_table(_table(chunk, schema))


def read_geoparquet(path: Path, taxonomy: Taxonomy) -> Iterator[Region]:
    """Yield the regions that ``write_geoparquet`` wrote, a row group at a time.

    Args:
        path: the file.
        taxonomy: whose classes they have.

    Raises:
        ConfigError: if shapely is not installed.
    """
    require("GeoParquet", "shapely")
    import shapely
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        for batch in file.iter_batches(REGIONS_AT_ONCE):
            for row in batch.to_pylist():
                yield Region(
                    value=taxonomy.classes.index(row["class"]),
                    name=row["class"],
                    geometry=shapely.from_wkb(row["geometry"]),
                    pixels=row["pixels"],
                    area_mm2=row["area_mm2"],
                    mean_confidence=row["mean_confidence"],
                )


def _chunks(regions: Iterable[Region]) -> Iterator[list[Region]]:
    rest = iter(regions)
    while chunk := list(islice(rest, REGIONS_AT_ONCE)):
        yield chunk


def _schema() -> Any:
    import pyarrow as pa

    fields = {
        "class": pa.string(),
        "area_mm2": pa.float64(),
        "pixels": pa.int64(),
        "mean_confidence": pa.float64(),
        "geometry": pa.binary(),
    }
    return pa.schema(fields, metadata={"geo": json.dumps(_GEO)})


def _table(regions: list[Region], schema: Any) -> Any:
    import pyarrow as pa
    import shapely

    columns = {
        "class": [region.name for region in regions],
        "area_mm2": [region.area_mm2 for region in regions],
        "pixels": [region.pixels for region in regions],
        "mean_confidence": [region.mean_confidence for region in regions],
        "geometry": shapely.to_wkb([region.geometry for region in regions]),
    }
    return pa.table(columns, schema=schema)
