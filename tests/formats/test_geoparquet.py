import geopandas
import numpy as np
import pandas as pd
import pytest
from pyarrow.parquet import ParquetFile
from shapely import MultiPolygon, box

from histoproto.formats import geoparquet
from histoproto.formats.geoparquet import write_geoparquet
from histoproto.formats.regions import Region, regions_of
from histoproto.taxonomy import BCSS_WSSS

REGIONS = [
    Region(0, "TUM", box(0, 0, 4, 3), 12, 0.75, 0.5),
    Region(2, "LYM", MultiPolygon([box(9, 9, 10, 10), box(20, 9, 21.5, 10)]), 2, None, 1.0),
]


def test_geopandas_reads_what_was_written(tmp_path):
    write_geoparquet(tmp_path / "regions.parquet", REGIONS)
    frame = geopandas.read_parquet(tmp_path / "regions.parquet")
    assert list(frame.columns) == ["class", "area_mm2", "pixels", "mean_confidence", "geometry"]
    assert frame["class"].tolist() == ["TUM", "LYM"]
    assert frame["pixels"].tolist() == [12, 2]
    assert frame["mean_confidence"].tolist() == [0.5, 1.0]
    assert frame["area_mm2"][0] == 0.75
    assert pd.isna(frame["area_mm2"][1])
    assert frame.crs is None
    assert all(frame.geometry[row].equals(region.geometry) for row, region in enumerate(REGIONS))


def test_regions_are_written_in_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(geoparquet, "REGIONS_AT_ONCE", 3)
    write_geoparquet(tmp_path / "regions.parquet", iter(REGIONS * 4))
    assert ParquetFile(tmp_path / "regions.parquet").num_row_groups == 3
    assert len(geopandas.read_parquet(tmp_path / "regions.parquet")) == 8


def test_no_regions_are_a_table_without_rows(tmp_path):
    write_geoparquet(tmp_path / "regions.parquet", [])
    frame = geopandas.read_parquet(tmp_path / "regions.parquet")
    assert len(frame) == 0
    assert frame.geometry.name == "geometry"


def test_regions_of_labels_keep_their_areas(tmp_path):
    labels = np.random.default_rng(0).integers(0, 5, (30, 30), np.uint8)
    found = regions_of(
        labels, np.full_like(labels, 255), BCSS_WSSS, mpp=1000.0, smallest_px=1, tolerance_px=0.0, block_px=8
    )
    write_geoparquet(tmp_path / "regions.parquet", found)
    frame = geopandas.read_parquet(tmp_path / "regions.parquet")
    assert frame["area_mm2"].tolist() == frame.area.tolist() == frame["pixels"].tolist()
    counts = frame.groupby("class")["pixels"].sum()
    assert [counts[name] for name in BCSS_WSSS.classes] == np.bincount(labels.ravel())[:4].tolist()


def test_a_failure_half_way_leaves_nothing(tmp_path):
    def torn():
        yield REGIONS[0]
        raise OSError("input/output error")

    with pytest.raises(Exception, match="error"):
        write_geoparquet(tmp_path / "regions.parquet", torn())
    assert list(tmp_path.iterdir()) == []


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(ValueError, match="parquet"):
        write_geoparquet(tmp_path / "regions.geojson", REGIONS)


def test_regions_come_back_as_they_were_written(tmp_path, monkeypatch):
    monkeypatch.setattr(geoparquet, "REGIONS_AT_ONCE", 2)
    written = [*REGIONS, *REGIONS, REGIONS[0]]
    write_geoparquet(tmp_path / "regions.parquet", written)
    assert list(geoparquet.read_geoparquet(tmp_path / "regions.parquet", BCSS_WSSS)) == written
