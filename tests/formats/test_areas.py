import csv
import json

import numpy as np
import pytest

from histoproto.formats.areas import areas_of_counts, class_areas, write_areas
from histoproto.taxonomy import BCSS_WSSS, IGNORE

MASK = np.array([[0, 0, 0, 1], [3, 4, 4, IGNORE]], np.uint8)


def test_areas_are_pixels_times_the_area_of_a_pixel():
    areas = class_areas(MASK, BCSS_WSSS, 500.0)
    assert [area["pixels"] for area in areas.values()] == [3, 1, 0, 1]
    assert areas["TUM"]["area_mm2"] == pytest.approx(3 * 0.25)
    assert areas["LYM"]["area_mm2"] == 0


def test_shares_are_of_tissue_without_background_and_ignored_pixels():
    areas = class_areas(MASK, BCSS_WSSS, None)
    assert list(areas) == list(BCSS_WSSS.classes)
    assert [area["share"] for area in areas.values()] == [0.6, 0.2, 0, 0.2]


def test_unknown_sizes_and_shares_of_nothing_are_none_in_json():
    areas = class_areas(np.full((3, 3), BCSS_WSSS.background, np.uint8), BCSS_WSSS, None)
    assert json.loads(json.dumps(areas, allow_nan=False))["TUM"] == {"pixels": 0, "share": None, "area_mm2": None}


def test_counts_give_the_areas_of_their_mask():
    counts = np.bincount(MASK.ravel(), minlength=256)
    assert areas_of_counts(counts, BCSS_WSSS, 0.5) == class_areas(MASK, BCSS_WSSS, 0.5)


def test_the_table_has_a_row_per_region_and_class(tmp_path):
    areas = [("slide", class_areas(MASK, BCSS_WSSS, 500.0)), ("Biopsy, left", class_areas(MASK[:1], BCSS_WSSS, None))]
    write_areas(tmp_path / "areas.csv", areas)
    with (tmp_path / "areas.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["region", "class", "pixels", "area_mm2", "share"]
    assert rows[1] == ["slide", "TUM", "3", "0.75", "0.6"]
    assert rows[5] == ["Biopsy, left", "TUM", "3", "", "0.75"]
    assert len(rows) == 1 + 2 * len(BCSS_WSSS)


def test_a_region_without_tissue_has_no_shares(tmp_path):
    write_areas(tmp_path / "areas.csv", [("empty", class_areas(MASK[1:, 1:3], BCSS_WSSS, 500.0))])
    assert (tmp_path / "areas.csv").read_text(encoding="utf-8").splitlines()[1] == "empty,TUM,0,0,"
