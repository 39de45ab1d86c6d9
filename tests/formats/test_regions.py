import numpy as np
import pytest
import shapely
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from rasterio.features import rasterize
from scipy.ndimage import gaussian_filter

from histoproto.formats.regions import as_qupath, regions_of
from histoproto.taxonomy import BCSS_WSSS, IGNORE

VALUES = (0, 1, 2, 3, BCSS_WSSS.background, IGNORE)
SMALL = arrays.arrays(
    np.uint8,
    st.tuples(st.integers(1, 14), st.integers(1, 14)),
    elements=st.sampled_from(VALUES),
    fill=st.sampled_from(VALUES),
)


def regions(labels, confidence=None, *, smallest_px=1, tolerance_px=0.0, block_px=2048, **options):
    if confidence is None:
        confidence = np.full(labels.shape, 255, np.uint8)
    found = regions_of(
        labels,
        confidence,
        BCSS_WSSS,
        **({"mpp": 1.0} | options),
        smallest_px=smallest_px,
        tolerance_px=tolerance_px,
        block_px=block_px,
    )
    return list(found)


def blobs(side=120, seed=0, sigma=5):
    noise = np.random.default_rng(seed).normal(size=(len(VALUES), side, side))
    smooth = np.stack([gaussian_filter(layer, sigma) for layer in noise])
    return np.array(VALUES, np.uint8)[smooth.argmax(0)]


def drawn(found, shape):
    if not found:
        return np.full(shape, IGNORE, np.uint8)
    shapes = [(region.geometry, region.value) for region in found]
    return rasterize(shapes, out_shape=shape, fill=IGNORE, dtype=np.uint8)


def tissue(labels):
    return np.where(labels < len(BCSS_WSSS), labels, IGNORE)


@settings(max_examples=60, deadline=None)
@given(labels=SMALL, block_px=st.integers(2, 6))
def test_rasterised_again_the_regions_are_the_labels(labels, block_px):
    found = regions(labels, block_px=block_px)
    np.testing.assert_array_equal(drawn(found, labels.shape), tissue(labels))
    assert sum(region.pixels for region in found) == (labels < len(BCSS_WSSS)).sum()
    assert all(region.geometry.is_valid for region in found)
    assert all(region.geometry.geom_type == "Polygon" for region in found)
    assert all(region.geometry.area == region.pixels for region in found)


@settings(max_examples=40, deadline=None)
@given(labels=SMALL, block_px=st.integers(2, 6), data=st.data())
def test_regions_do_not_depend_on_the_blocks(labels, block_px, data):
    confidence = data.draw(arrays.arrays(np.uint8, labels.shape))
    whole = regions(labels, confidence, block_px=64)
    parts = regions(labels, confidence, block_px=block_px)

    def key(region):
        return region.geometry.normalize().bounds, region.value, region.pixels

    assert len(whole) == len(parts)
    for one, other in zip(sorted(whole, key=key), sorted(parts, key=key), strict=True):
        assert one.geometry.equals(other.geometry)
        assert (one.value, one.pixels, one.mean_confidence) == (other.value, other.pixels, other.mean_confidence)


def test_a_known_region_has_its_hole_area_and_confidence():
    labels = np.full((6, 7), BCSS_WSSS.background, np.uint8)
    labels[1:5, 1:5] = 2
    labels[2:4, 2:4] = 1
    confidence = np.where(labels == 2, 102, 255).astype(np.uint8)
    outer, inner = sorted(regions(labels, confidence, mpp=500.0, block_px=4), key=lambda region: -region.pixels)
    assert (outer.name, outer.pixels, outer.area_mm2) == ("LYM", 12, 3.0)
    assert outer.mean_confidence == pytest.approx(0.4)
    assert outer.geometry.equals(shapely.box(1, 1, 5, 5).difference(shapely.box(2, 2, 4, 4)))
    assert (inner.name, inner.mean_confidence) == ("STR", 1.0)


def test_pixels_that_touch_at_a_corner_alone_are_two_regions():
    labels = np.array([[0, 4], [4, 0]], np.uint8)
    for block_px in (1, 2):
        assert len(regions(labels, block_px=block_px)) == 2


def test_a_spiral_over_many_blocks_is_one_region():
    side = 41
    labels = np.full((side, side), BCSS_WSSS.background, np.uint8)
    low, high = 0, side - 1
    while low < high:
        labels[low, max(0, low - 2) : high + 1] = 1
        labels[low : high + 1, high] = 1
        labels[high, low : high + 1] = 1
        labels[low + 2 : high + 1, low] = 1
        low, high = low + 2, high - 2
    (region,) = regions(labels, block_px=5)
    assert region.pixels == (labels == 1).sum()


def test_small_regions_are_left_out_by_their_whole_size():
    labels = np.full((4, 9), BCSS_WSSS.background, np.uint8)
    labels[0, :] = 0
    labels[3, :3] = 1
    found = regions(labels, smallest_px=4, block_px=3)
    assert [region.name for region in found] == ["TUM"]


@pytest.mark.parametrize("tolerance_px", [0.0, 1.5])
@pytest.mark.parametrize("smallest_px", [2, 9, 40])
def test_leaving_out_small_regions_changes_no_other(smallest_px, tolerance_px):
    labels = blobs(sigma=2)
    options = {"tolerance_px": tolerance_px, "block_px": 32}
    few, many = regions(labels, smallest_px=smallest_px, **options), regions(labels, **options)
    assert sorted(region.pixels for region in few) == sorted(r.pixels for r in many if r.pixels >= smallest_px)
    assert all(region.geometry.is_valid for region in few)


def test_coordinates_are_those_of_the_finest_page():
    labels = np.full((4, 4), BCSS_WSSS.background, np.uint8)
    labels[1:3, 2:4] = 0
    (region,) = regions(labels, scale=(4.0, 2.0), offset=(100.0, 10.0), mpp=None)
    assert region.geometry.bounds == (108, 12, 116, 16)
    assert region.area_mm2 is None


def test_background_and_undecided_make_no_region():
    assert regions(np.full((9, 9), BCSS_WSSS.background, np.uint8)) == []
    assert regions(np.full((9, 9), IGNORE, np.uint8), block_px=2, tolerance_px=1.0) == []


@pytest.mark.parametrize("block_px", [2048, 50, 37])
@pytest.mark.parametrize("tolerance_px", [1.0, 3.0])
def test_simplified_neighbours_have_no_gap_and_no_overlap(block_px, tolerance_px):
    labels = blobs()
    labels[labels >= len(BCSS_WSSS)] = 0
    found = regions(labels, block_px=block_px, tolerance_px=tolerance_px)
    shapes = [region.geometry for region in found]
    assert all(shape.is_valid for shape in shapes)
    assert shapely.area(shapes).sum() == pytest.approx(labels.size)
    assert shapely.unary_union(shapes).area == pytest.approx(labels.size)
    tree = shapely.STRtree(shapes)
    first, second = tree.query(shapes, predicate="intersects")
    pairs = first < second
    overlaps = shapely.area(shapely.intersection(np.take(shapes, first[pairs]), np.take(shapes, second[pairs])))
    assert overlaps.max() < 1e-9
    exact = regions(labels, block_px=block_px)
    assert sum(len(shape.exterior.coords) for shape in shapes) < 0.7 * sum(
        len(region.geometry.exterior.coords) for region in exact
    )


def test_borders_with_background_are_simplified_too():
    labels = blobs()
    simple, exact = regions(labels, tolerance_px=2.0, block_px=64), regions(labels)
    assert shapely.get_num_coordinates([region.geometry for region in simple]).sum() < 0.5 * (
        shapely.get_num_coordinates([region.geometry for region in exact]).sum()
    )
    assert sorted(region.pixels for region in simple) == sorted(region.pixels for region in exact)
    assert (drawn(simple, labels.shape) == tissue(labels)).mean() > 0.95


def test_regions_come_as_soon_as_they_are_complete():
    class Watched:
        """Labels that remember the lowest row that was read."""

        def __init__(self, array):
            self.array, self.read_to = array, 0
            self.shape, self.dtype = array.shape, array.dtype

        def __getitem__(self, key):
            self.read_to = max(self.read_to, key[0].stop)
            return self.array[key]

    labels = np.full((100, 20), BCSS_WSSS.background, np.uint8)
    labels[2:5, 2:5] = 0
    watched = Watched(labels)
    found = regions_of(watched, np.zeros_like(labels), BCSS_WSSS, mpp=1.0, smallest_px=1, tolerance_px=0.0, block_px=10)
    assert next(found).pixels == 9
    assert watched.read_to == 10


def test_zarr_arrays_are_read_like_numpy_arrays():
    labels = blobs(60)
    stored = zarr.create_array({}, shape=labels.shape, dtype=labels.dtype, chunks=(16, 16))
    stored[...] = labels
    assert [region.pixels for region in regions(stored, labels)] == [region.pixels for region in regions(labels)]


def test_arrays_that_do_not_fit_are_refused():
    labels = blobs(20)
    with pytest.raises(ValueError, match="differ in shape"):
        regions(labels, labels[:10])
    with pytest.raises(ValueError, match="uint8"):
        regions(labels.astype(np.int32), labels)


def test_for_qupath_a_region_is_an_annotation_with_measurements():
    (region,) = regions(np.zeros((10, 10), np.uint8), mpp=500.0)
    entry = as_qupath(region, BCSS_WSSS)
    assert (entry.kind, entry.name, entry.colour) == ("annotation", "Tumour", (255, 0, 0))
    assert entry.measurements == {"Pixels": 100.0, "Mean confidence": 1.0, "Area mm^2": 25.0}
