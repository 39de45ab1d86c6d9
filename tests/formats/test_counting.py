import numpy as np
import pytest
import shapely
import zarr

from histoproto.formats.counting import count_values, count_within

LABELS = np.random.default_rng(0).choice(np.array([0, 1, 2, 4, 255], np.uint8), (37, 53))
DISC = shapely.Point(20.3, 15.7).buffer(12)


def centres_inside(polygon):
    rows, columns = np.indices(LABELS.shape) + 0.5
    return shapely.contains_xy(polygon, columns, rows)


@pytest.mark.parametrize("block_px", [7, 16, 2048])
def test_counts_by_blocks_are_those_of_the_whole(block_px):
    stored = zarr.create_array({}, shape=LABELS.shape, dtype=np.uint8, chunks=(16, 16))
    stored[...] = LABELS
    for labels in (LABELS, stored):
        np.testing.assert_array_equal(
            count_values(labels, block_px=block_px), np.bincount(LABELS.ravel(), minlength=256)
        )


@pytest.mark.parametrize("block_px", [7, 16, 2048])
def test_pixels_count_within_a_polygon_where_their_centres_lie(block_px):
    ring = DISC.difference(DISC.buffer(-6))
    two = shapely.MultiPolygon([shapely.box(0, 0, 3, 3), shapely.box(30, 30, 40, 36)])
    counts = count_within(LABELS, [DISC, ring, two], block_px=block_px)
    for row, polygon in zip(counts, (DISC, ring, two), strict=True):
        np.testing.assert_array_equal(row, np.bincount(LABELS[centres_inside(polygon)], minlength=256))


def test_polygons_are_given_in_pixels_of_the_finest_page():
    drawn = shapely.transform(DISC, lambda points: points * (4.0, 2.0) + (100.0, -7.0))
    counts = count_within(LABELS, [drawn], scale=(4.0, 2.0), offset=(100.0, -7.0), block_px=16)
    np.testing.assert_array_equal(counts, count_within(LABELS, [DISC]))


def test_what_reaches_beyond_the_labels_is_not_counted():
    counts = count_within(LABELS, [shapely.box(-50, -50, 500, 500), shapely.box(60, 0, 70, 10)])
    assert counts.sum(1).tolist() == [LABELS.size, 0]


def test_no_polygons_have_no_counts():
    assert count_within(LABELS, []).shape == (0, 256)


def test_blocks_that_no_polygon_touches_are_not_read():
    class Watched:
        shape, dtype = LABELS.shape, LABELS.dtype

        def __init__(self):
            self.reads = 0

        def __getitem__(self, key):
            self.reads += 1
            return LABELS[key]

    watched = Watched()
    count_within(watched, [shapely.box(1, 1, 5, 5)], block_px=10)
    assert watched.reads == 1


def test_other_types_are_refused():
    with pytest.raises(ValueError, match="uint8"):
        count_values(LABELS.astype(np.int64))
    with pytest.raises(ValueError, match="axes"):
        count_within(LABELS[None], [DISC])
