import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from histoproto.contracts import Region
from histoproto.errors import ConfigError, DataError
from histoproto.slides import flat
from histoproto.slides.flat import FlatReader
from histoproto.slides.mpp import require_mpp
from histoproto.slides.reader import open_image
from histoproto.slides.resample import ResampledReader, at_mpp, thumbnail
from histoproto.slides.scanner import ScannerReader
from histoproto.slides.tiff import TiffReader

HEIGHT, WIDTH = 700, 900


def smooth_image(height=HEIGHT, width=WIDTH):
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 40 + y / 90), np.cos(x / 70 - y / 30), np.sin(x / 25) * np.cos(y / 60)]
    return (127.5 + 100 * np.stack(waves, -1)).astype(np.uint8)


def write_pyramid(path, rgb, *, mpp=(0.25, 0.25), unit="CENTIMETER", pages=3, compression="deflate"):
    microns = {"CENTIMETER": 10_000, "INCH": 25_400, "NONE": 1}[unit]
    with tifffile.TiffWriter(path) as writer:
        for page in range(pages):
            writer.write(
                np.ascontiguousarray(rgb[:: 2**page, :: 2**page]),
                photometric="rgb",
                tile=(128, 128),
                compression=compression,
                resolution=(microns / mpp[0] / 2**page, microns / mpp[1] / 2**page),
                resolutionunit=unit,
                subfiletype=int(page > 0),
                metadata=None,
            )
    return path


@pytest.fixture(params=["openslide", "tifffile"])
def backend(request, monkeypatch):
    """Every test with it runs twice: with openslide, and as if it were not installed."""
    if request.param == "tifffile":
        monkeypatch.setitem(sys.modules, "openslide", None)
        return TiffReader
    pytest.importorskip("openslide")
    return ScannerReader


@pytest.fixture
def opened():
    readers = []

    def open_and_keep(path, **kwargs):
        readers.append(open_image(path, **kwargs))
        return readers[-1]

    yield open_and_keep
    for reader in readers:
        reader.close()


@pytest.mark.parametrize("unit", ["CENTIMETER", "INCH"])
def test_a_pyramidal_tiff_says_its_size_and_resolution(tmp_path, backend, opened, unit):
    reader = opened(write_pyramid(tmp_path / "slide.tif", smooth_image(), unit=unit))
    assert isinstance(reader, backend)
    assert (reader.height_px, reader.width_px) == (HEIGHT, WIDTH)
    assert require_mpp(reader) == pytest.approx(0.25, rel=1e-4)
    assert [page.downsample for page in reader.pages] == pytest.approx([1, 2, 4], rel=0.01)


@pytest.mark.parametrize("region", [Region(0, 0, 1, 1), Region(100, 120, 300, 77), Region(890, 0, 10, 700)])
def test_reading_a_region_equals_cropping(tmp_path, backend, opened, region):
    rgb = smooth_image()
    reader = opened(write_pyramid(tmp_path / "slide.tif", rgb))
    expected = rgb[region.y_px : region.y_px + region.height_px, region.x_px : region.x_px + region.width_px]
    assert np.array_equal(reader.read(region), expected)


@pytest.mark.parametrize("region", [Region(-1, 0, 5, 5), Region(0, 0, WIDTH + 1, 5), Region(3, 3, 0, 5)])
def test_a_region_outside_the_image_is_refused(tmp_path, backend, opened, region):
    reader = opened(write_pyramid(tmp_path / "slide.tif", smooth_image()))
    with pytest.raises(ValueError, match="not inside 900 x 700 px"):
        reader.read(region)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_a_flat_image_reads_like_a_slide(tmp_path, opened, suffix):
    rgb = smooth_image(40, 60)
    Image.fromarray(rgb).save(tmp_path / f"Größe µ{suffix}")
    reader = opened(tmp_path / f"Größe µ{suffix}")
    assert isinstance(reader, FlatReader)
    assert np.array_equal(reader.read(Region(7, 5, 20, 30)), rgb[5:35, 7:27])
    assert reader.mpp is None


def test_resolution_tags_of_a_flat_tiff_count_and_those_of_a_printer_do_not(tmp_path, opened):
    rgb = smooth_image(40, 60)
    tifffile.imwrite(tmp_path / "microscope.tif", rgb, resolution=(20_000, 20_000), resolutionunit="CENTIMETER")
    tifffile.imwrite(tmp_path / "printer.tif", rgb, resolution=(300, 300), resolutionunit="INCH")
    assert opened(tmp_path / "microscope.tif").mpp == pytest.approx(0.5)
    assert opened(tmp_path / "printer.tif").mpp is None


def test_a_large_tiff_in_strips_is_read_strip_by_strip(tmp_path, opened):
    rgb = smooth_image()
    with tifffile.TiffWriter(tmp_path / "strips.tif") as writer:
        for page in (rgb, rgb[::2, ::2]):
            writer.write(np.ascontiguousarray(page), photometric="rgb", rowsperstrip=33, metadata=None)
    reader = opened(tmp_path / "strips.tif")
    assert isinstance(reader, TiffReader)
    assert np.array_equal(reader.read(Region(11, 30, 500, 669)), rgb[30:699, 11:511])


def test_without_resolution_the_way_out_is_named(tmp_path, backend, opened):
    path = write_pyramid(tmp_path / "slide.tif", smooth_image(), unit="NONE")
    with pytest.raises(DataError, match=r"slide\.tif does not say .* --assume-mpp.*tiff\.\w+ = "):
        require_mpp(opened(path))
    assert require_mpp(opened(path, assume_mpp=0.25)) == 0.25


def test_an_assumed_mpp_does_not_overrule_the_file(tmp_path, backend, opened):
    reader = opened(write_pyramid(tmp_path / "slide.tif", smooth_image()), assume_mpp=0.5)
    assert require_mpp(reader) == pytest.approx(0.25, rel=1e-4)


@pytest.mark.parametrize("mpp", [0.0, -1.0, 250.0, float("nan")])
def test_an_assumed_mpp_must_be_plausible(tmp_path, mpp):
    with pytest.raises(ConfigError, match="not plausible"):
        open_image(tmp_path / "slide.tif", assume_mpp=mpp)


def test_pixels_that_are_not_square_are_refused(tmp_path, backend):
    path = write_pyramid(tmp_path / "slide.tif", smooth_image(), mpp=(0.25, 0.5))
    with pytest.raises(DataError, match=r"0\.25 x 0\.5 micrometres are not square"):
        open_image(path)


@pytest.mark.parametrize("target_mpp", [0.25, 0.4, 0.5, 0.93, 1.7])
def test_a_slide_at_another_mpp_shows_the_same_tissue(tmp_path, backend, opened, target_mpp):
    rgb = smooth_image()
    reader = at_mpp(opened(write_pyramid(tmp_path / "slide.tif", rgb)), target_mpp)
    scale = target_mpp / 0.25
    assert reader.mpp == pytest.approx(target_mpp, rel=1e-4)
    assert reader.width_px == int(WIDTH / scale + 1e-6)
    whole = reader.read(Region(0, 0, reader.width_px, reader.height_px)).astype(float)
    y, x = ((np.arange(size) + 0.5) * scale for size in whole.shape[:2])
    expected = rgb[y.astype(int)][:, x.astype(int)].astype(float)
    # Pages were made by leaving out pixels, so that each is off by up to half of its own pixels.
    assert np.abs(whole - expected)[3:-3, 3:-3].mean() < 6


@pytest.mark.parametrize("scale", [0.6, 1.37, 2.0, 3.3])
def test_resampling_a_region_equals_cropping_the_resampled_image(tmp_path, backend, opened, scale):
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    reader = ResampledReader(opened(write_pyramid(tmp_path / "slide.tif", noise)), scale)
    whole = reader.read(Region(0, 0, reader.width_px, reader.height_px)).astype(int)
    for region in (Region(0, 0, 50, 60), Region(37, 41, 101, 53), Region(reader.width_px - 9, 3, 9, 200)):
        part = whole[region.y_px : region.y_px + region.height_px, region.x_px : region.x_px + region.width_px]
        assert np.abs(reader.read(region) - part).max() <= 1


def test_resampling_reads_the_coarsest_page_that_is_fine_enough(tmp_path, backend, opened):
    reader = opened(write_pyramid(tmp_path / "slide.tif", smooth_image()))
    assert [ResampledReader(reader, scale)._page for scale in (0.5, 1.0, 1.9, 2.0, 3.9, 4.0, 30.0)] == [
        0,
        0,
        0,
        1,
        1,
        2,
        2,
    ]


@pytest.mark.parametrize("pages", [1, 3])
def test_a_thumbnail_keeps_the_proportions(tmp_path, backend, opened, monkeypatch, pages):
    monkeypatch.setattr("histoproto.slides.resample._READ_AT_ONCE_PX", 50_000)
    rgb = smooth_image()
    small = thumbnail(opened(write_pyramid(tmp_path / "slide.tif", rgb, pages=pages)), 300)
    assert small.shape == (233, 300, 3)
    assert np.abs(small.astype(int) - rgb[1:699:3, 1::3]).mean() < 12


def test_a_small_image_is_its_own_thumbnail(tmp_path, opened):
    rgb = smooth_image(40, 60)
    Image.fromarray(rgb).save(tmp_path / "patch.png")
    assert np.array_equal(thumbnail(opened(tmp_path / "patch.png"), 2048), rgb)


def test_openslide_and_tifffile_read_the_same(tmp_path, monkeypatch):
    pytest.importorskip("openslide")
    path = write_pyramid(tmp_path / "slide.tif", smooth_image(), compression="jpeg")
    with_openslide = open_image(path)
    monkeypatch.setitem(sys.modules, "openslide", None)
    without = open_image(path)
    region = Region(100, 90, 150, 130)
    for page in range(2):
        assert np.array_equal(with_openslide.read_page(page, region), without.read_page(page, region))
    with_openslide.close()
    without.close()


def test_a_damaged_tile_spoils_its_own_regions_only(tmp_path, backend, opened):
    rgb = smooth_image()
    path = write_pyramid(tmp_path / "slide.tif", rgb)
    with tifffile.TiffFile(path) as tiff:
        offset, length = tiff.pages[0].dataoffsets[9], tiff.pages[0].databytecounts[9]
    content = bytearray(path.read_bytes())
    content[offset : offset + length] = b"\xff" * length
    path.write_bytes(content)
    reader = opened(path)
    with pytest.raises(DataError, match=r"slide\.tif: .* cannot be decoded"):
        reader.read(Region(128, 128, 128, 128))
    assert np.array_equal(reader.read(Region(300, 300, 40, 40)), rgb[300:340, 300:340])


def write_text(path: Path):
    path.write_text("this is no image\n" * 100)


def write_truncated_jpeg(path: Path):
    Image.fromarray(smooth_image(300, 300)).save(path, format="JPEG")
    path.write_bytes(path.read_bytes()[:3000])


def write_truncated_pyramid(path: Path):
    write_pyramid(path, smooth_image(), pages=1)
    path.write_bytes(path.read_bytes()[:150])


BAD_FILES = {
    "text.tif": (write_text, "not an image"),
    "text.svs": (write_text, "not an image"),
    "text.png": (write_text, "not an image"),
    "cut.jpg": (write_truncated_jpeg, "cannot be decoded"),
    "cut.tif": (write_truncated_pyramid, "damaged|cannot"),
    "empty.tif": (lambda path: path.touch(), "is empty"),
    "empty.svs": (lambda path: path.touch(), "is empty"),
    "absent.svs": (lambda path: None, "no such file"),
    "folder.svs": (lambda path: path.mkdir(), "no such file"),
    "deep_strips.tif": (lambda path: tifffile.imwrite(path, np.ones((50, 50), np.uint16)), "more than 8 bits"),
    "deep_tiles.tif": (
        lambda path: tifffile.imwrite(path, np.ones((300, 300, 3), np.uint16), photometric="rgb", tile=(128, 128)),
        "3 x uint16",
    ),
    "fluorescence.tif": (
        lambda path: tifffile.imwrite(path, np.ones((300, 300), np.uint8), photometric="minisblack", tile=(128, 128)),
        "1 x uint8",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_ends_in_one_sentence(tmp_path, backend, name):
    write, sentence = BAD_FILES[name]
    write(tmp_path / name)
    with pytest.raises(DataError, match=sentence) as caught:
        open_image(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_scanners_format_without_openslide_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openslide", None)
    (tmp_path / "slide.mrxs").write_bytes(b"\0" * 100)
    with pytest.raises(DataError, match=r'pip install "histoproto\[wsi\]"'):
        open_image(tmp_path / "slide.mrxs")


def test_a_huge_flat_image_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    Image.fromarray(smooth_image(40, 60)).save(tmp_path / "huge.png")
    with pytest.raises(DataError, match=f"{flat.LIMIT_PX / 1e6:.0f} million pixels .* tiled pyramidal TIFF"):
        open_image(tmp_path / "huge.png")
