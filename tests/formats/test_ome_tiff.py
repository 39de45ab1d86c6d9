import numpy as np
import ome_types
import pytest
import tifffile
import zarr

from histoproto.formats import ome_tiff
from histoproto.formats.ome_tiff import write_labels, write_probabilities
from histoproto.taxonomy import BCSS_WSSS, IGNORE

SHAPES = [(1, 1), (512, 512), (513, 40), (700, 1300), (1025, 1027), (300, 2100)]


def labels_of(shape, seed=0):
    """Return blobs of classes on background, with a few undecided pixels."""
    noise = np.random.default_rng(seed).integers(0, 6, (shape[0] // 50 + 1, shape[1] // 50 + 1))
    values = np.array([0, 1, 2, 3, 4, IGNORE], np.uint8)[noise]
    return np.kron(values, np.ones((50, 50), np.uint8))[: shape[0], : shape[1]]


def as_zarr(array, chunks):
    stored = zarr.create_array({}, shape=array.shape, dtype=array.dtype, chunks=chunks)
    stored[...] = array
    return stored


@pytest.mark.parametrize("shape", SHAPES)
def test_labels_keep_every_value_on_every_level(tmp_path, shape):
    labels = labels_of(shape)
    write_labels(tmp_path / "labels.ome.tif", as_zarr(labels, (512, 512)), BCSS_WSSS, 0.5)
    with tifffile.TiffFile(tmp_path / "labels.ome.tif") as tiff:
        assert tiff.is_ome
        (series,) = tiff.series
        expected = labels
        for level in series.levels:
            np.testing.assert_array_equal(level.asarray(), expected)
            assert level.keyframe.is_tiled
            expected = expected[::2, ::2]
        assert max(series.levels[-1].shape) <= 512
        assert len(series.levels) == 1 or max(series.levels[-2].shape) > 512
    assert [path.name for path in tmp_path.iterdir()] == ["labels.ome.tif"]


def test_labels_have_a_palette_sizes_and_names(tmp_path):
    file = tmp_path / "labels.ome.tif"
    write_labels(file, labels_of((700, 1300)), BCSS_WSSS, 0.25)
    with tifffile.TiffFile(file) as tiff:
        for page in (tiff.pages[0], *tiff.pages[0].pages):
            assert page.photometric == tifffile.PHOTOMETRIC.PALETTE
            assert (page.colormap[:, 0] == np.array(BCSS_WSSS.colours[0]) * 257).all()
            assert (page.colormap[:, BCSS_WSSS.background] == 65535).all()
            assert (page.colormap[:, IGNORE] == 128 * 257).all()
    ome = ome_types.from_tiff(file)
    pixels = ome.images[0].pixels
    assert (pixels.size_x, pixels.size_y, pixels.size_c, pixels.type.value) == (1300, 700, 1, "uint8")
    assert (pixels.physical_size_x, pixels.physical_size_y) == (0.25, 0.25)
    assert pixels.physical_size_x_unit.value == "µm"
    names = {entry.k: entry.value for entry in ome.structured_annotations.map_annotations[0].value.ms}
    assert (names["0"], names["4"], names["255"]) == ("Tumour", "Background", "Undecided")


def halved(plane):
    even = np.pad(plane, ((0, plane.shape[0] % 2), (0, plane.shape[1] % 2)), mode="edge").astype(int)
    blocks = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2)
    return ((blocks.sum((1, 3)) + 2) // 4).astype(np.uint8)


@pytest.mark.parametrize("shape", [(40, 60), (700, 1300), (1025, 513)])
def test_probabilities_are_named_channels_whose_levels_are_means(tmp_path, shape):
    file = tmp_path / "probabilities.ome.tif"
    maps = np.random.default_rng(0).integers(0, 256, (4, *shape), np.uint8)
    write_probabilities(file, as_zarr(maps, (1, 512, 512)), BCSS_WSSS, 2.0)
    with tifffile.TiffFile(file) as tiff:
        expected = list(maps)
        for level in tiff.series[0].levels:
            np.testing.assert_array_equal(level.asarray(), np.stack(expected))
            expected = [halved(plane) for plane in expected]
    pixels = ome_types.from_tiff(file).images[0].pixels
    assert (pixels.size_c, pixels.physical_size_y) == (4, 2.0)
    assert [channel.name for channel in pixels.channels] == list(BCSS_WSSS.titles)
    assert [channel.color.as_rgb_tuple()[:3] for channel in pixels.channels] == list(BCSS_WSSS.colours)


def test_an_unknown_pixel_size_is_left_out(tmp_path):
    write_labels(tmp_path / "a.ome.tif", labels_of((20, 30)), BCSS_WSSS, None)
    pixels = ome_types.from_tiff(tmp_path / "a.ome.tif").images[0].pixels
    assert pixels.physical_size_x is None
    assert pixels.physical_size_y is None


def test_the_resolution_is_in_the_tags_of_every_level(tmp_path):
    write_labels(tmp_path / "a.ome.tif", labels_of((700, 1300)), BCSS_WSSS, 0.5)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        pages = (tiff.pages[0], *tiff.pages[0].pages)
        assert [round(page.get_resolution("MICROMETER")[0], 3) for page in pages] == [2.0, 1.0, 0.5]


def test_equal_labels_give_equal_bytes(tmp_path):
    for folder in ("one", "two"):
        write_labels(tmp_path / folder / "a.ome.tif", labels_of((700, 900)), BCSS_WSSS, 0.5)
    assert (tmp_path / "one/a.ome.tif").read_bytes() == (tmp_path / "two/a.ome.tif").read_bytes()


def test_a_large_slide_becomes_big_tiff(tmp_path, monkeypatch):
    write_labels(tmp_path / "a.ome.tif", labels_of((700, 900)), BCSS_WSSS, 0.5)
    monkeypatch.setattr(ome_tiff, "LARGEST_CLASSIC_BYTES", 1000)
    write_labels(tmp_path / "b.ome.tif", labels_of((700, 900)), BCSS_WSSS, 0.5)
    for name, big in (("a", False), ("b", True)):
        with tifffile.TiffFile(tmp_path / f"{name}.ome.tif") as tiff:
            assert tiff.is_bigtiff is big


def test_a_failure_half_way_leaves_nothing(tmp_path):
    class Torn:
        shape = (2000, 600)
        dtype = np.dtype(np.uint8)

        def __getitem__(self, key):
            raise OSError("input/output error")

    with pytest.raises(Exception, match="error"):
        write_labels(tmp_path / "a.ome.tif", Torn(), BCSS_WSSS, 0.5)
    assert list(tmp_path.iterdir()) == []


def test_another_type_shape_or_ending_is_refused(tmp_path):
    labels = labels_of((20, 20))
    with pytest.raises(ValueError, match="uint8"):
        write_labels(tmp_path / "a.ome.tif", labels.astype(int), BCSS_WSSS, 0.5)
    with pytest.raises(ValueError, match="axes"):
        write_probabilities(tmp_path / "a.ome.tif", labels, BCSS_WSSS, 0.5)
    with pytest.raises(ValueError, match="2 planes of probabilities for 4 classes"):
        write_probabilities(tmp_path / "a.ome.tif", np.stack([labels, labels]), BCSS_WSSS, 0.5)
    with pytest.raises(ValueError, match=r"\.ome\.tif"):
        write_labels(tmp_path / "a.png", labels, BCSS_WSSS, 0.5)
