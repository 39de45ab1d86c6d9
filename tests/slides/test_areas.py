import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histoproto.contracts import Region
from histoproto.errors import ConfigError
from histoproto.slides.areas import AreaOfInterest, outlines
from histoproto.slides.tissue import Tissue

shapely = pytest.importorskip("shapely")
pytest.importorskip("rasterio")

WIDTH, HEIGHT = 130, 90
SCALES = (0.5, 1.0, 2.0, 3.7, 9.1)


@st.composite
def tissues(draw):
    cell_px = draw(st.sampled_from([1.0, 4.0, 7.3]))
    shape = max(1, int(HEIGHT / cell_px)), max(1, int(WIDTH / cell_px))
    noise = np.random.default_rng(draw(st.integers(0, 99))).random(shape)
    return Tissue(noise < draw(st.sampled_from([0.0, 0.05, 0.5, 1.0])), cell_px)


@st.composite
def drawings(draw):
    """Discs, rings and stars, some beyond the slide's border; corners never on the centre of a pixel."""
    random = np.random.default_rng(draw(st.integers(0, 999)))
    polygons = []
    for _ in range(draw(st.integers(0, 3))):
        centre, radius = random.uniform(-10, 130, 2), random.uniform(3, 50)
        corners = int(random.integers(3, 40))
        angles = np.sort(random.uniform(0, 2 * np.pi, corners))
        reach = radius * random.uniform(0.4, 1, corners)
        star = shapely.Polygon(np.stack([np.cos(angles), np.sin(angles)], -1) * reach[:, None] + centre)
        valid = shapely.make_valid(star).difference(shapely.Point(centre).buffer(radius / 5))
        polygons += [part for part in shapely.get_parts(valid) if part.geom_type == "Polygon"]
    return polygons


@st.composite
def regions(draw, scale):
    width, height = max(1, int(WIDTH / scale)), max(1, int(HEIGHT / scale))
    x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return Region(x, y, draw(st.integers(1, width - x)), draw(st.integers(1, height - y)))


def whole(scale):
    return Region(0, 0, max(1, int(WIDTH / scale)), max(1, int(HEIGHT / scale)))


def crop(pixels, region):
    return pixels[region.y_px : region.y_px + region.height_px, region.x_px : region.x_px + region.width_px]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_region_touches_the_area_where_any_of_its_pixels_counts_and_shows_its_part_of_the_whole(data):
    scale = data.draw(st.sampled_from(SCALES))
    tissue = data.draw(st.none() | tissues())
    polygons = data.draw(st.none() | drawings())
    area = AreaOfInterest(scale, tissue=tissue, polygons=polygons)
    region = data.draw(regions(scale))
    pixels = area.pixels(region)
    assert pixels.shape == (region.height_px, region.width_px)
    assert area.touches(region) == pixels.any()
    assert np.array_equal(pixels, crop(area.pixels(whole(scale)), region))


@settings(max_examples=60, deadline=None)
@given(drawings(), st.sampled_from(SCALES))
def test_a_pixel_is_in_a_polygon_where_its_centre_is(polygons, scale):
    region = whole(scale)
    y, x = np.mgrid[: region.height_px, : region.width_px]
    expected = np.zeros(y.shape, bool)
    for polygon in polygons:
        expected |= shapely.contains_xy(polygon, (x + 0.5) * scale, (y + 0.5) * scale)
    assert np.array_equal(AreaOfInterest(scale, polygons=polygons).pixels(region), expected)


@settings(max_examples=40, deadline=None)
@given(tissues(), drawings(), st.sampled_from(SCALES))
def test_tissue_and_polygons_together_are_their_intersection(tissue, polygons, scale):
    both = AreaOfInterest(scale, tissue=tissue, polygons=polygons).pixels(whole(scale))
    one = AreaOfInterest(scale, tissue=tissue).pixels(whole(scale))
    other = AreaOfInterest(scale, polygons=polygons).pixels(whole(scale))
    assert np.array_equal(both, one & other)


@settings(max_examples=60, deadline=None)
@given(tissues(), st.sampled_from([0.5, 1.1, 3.7]))
def test_outlines_drawn_again_give_the_tissue_they_were_made_of(tissue, scale):
    polygons = outlines(tissue, WIDTH, HEIGHT)
    drawn = AreaOfInterest(scale, polygons=polygons).pixels(whole(scale))
    assert np.array_equal(drawn, AreaOfInterest(scale, tissue=tissue).pixels(whole(scale)))
    page = shapely.box(0, 0, WIDTH, HEIGHT)
    assert all(polygon.is_valid and page.covers(polygon) for polygon in polygons)


def test_known_pixels_of_a_square_with_a_hole():
    square = shapely.box(2, 2, 10, 8, ccw=False).difference(shapely.box(4, 4, 6, 6))
    pixels = AreaOfInterest(2.0, polygons=[square]).pixels(Region(0, 0, 6, 5))
    assert pixels.astype(int).tolist() == [
        [0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 1, 0],
        [0, 1, 0, 1, 1, 0],
        [0, 1, 1, 1, 1, 0],
        [0, 0, 0, 0, 0, 0],
    ]


def test_without_restriction_everything_counts_and_without_a_polygon_nothing():
    region = Region(5, 5, 3, 2)
    assert AreaOfInterest(1.0).touches(region)
    assert AreaOfInterest(1.0).pixels(region).all()
    assert not AreaOfInterest(1.0, polygons=[]).touches(region)
    assert not AreaOfInterest(1.0, polygons=[]).pixels(region).any()


def test_a_polygon_of_very_many_corners_is_asked_quickly():
    angles = np.linspace(0, 2 * np.pi, 200_000, endpoint=False)
    reach = 40_000 + 500 * np.sin(3_000 * angles)
    ragged = shapely.Polygon(np.stack([np.cos(angles), np.sin(angles)], -1) * reach[:, None] + 50_000)
    area = AreaOfInterest(1.0, polygons=[ragged])
    inside = [area.pixels(Region(x, 50_000, 512, 512)).mean() for x in range(9_000, 91_000, 4_000)]
    assert inside[0] < 1
    assert inside[10] == 1


def test_without_the_extra_polygons_are_refused_in_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(ConfigError, match=r"rasterio.*histoproto\[wsi\]"):
        AreaOfInterest(1.0, polygons=[])
