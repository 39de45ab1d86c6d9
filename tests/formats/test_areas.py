import json

import numpy as np
import pytest

from histoproto.formats.areas import class_areas
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
