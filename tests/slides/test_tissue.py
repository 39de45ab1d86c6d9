"""Drawn slides: what is tissue is known to the pixel."""

import numpy as np
import pytest
import tifffile

from histoproto.errors import DataError
from histoproto.slides.reader import open_image
from histoproto.slides.tissue import TISSUE_MPP, find_tissue, is_ink, tissue_of

MPP = 8.0
GLASS, PINK, PALE, VIOLET = (243, 241, 243), (214, 140, 180), (230, 200, 215), (120, 80, 150)


def ground(colour=GLASS, size=200, noise=3):
    rgb = np.random.default_rng(0).normal(colour, noise, (size, size, 3))
    return rgb.clip(0, 255).astype(np.uint8)


def disc(size, centre, radius_px):
    y, x = np.mgrid[:size, :size]
    return np.hypot(y - centre[0], x - centre[1]) <= radius_px


def draw(rgb, place, colour):
    rgb[place] = (rgb[place].astype(int) - GLASS + colour).clip(0, 255)
    return rgb


def agreement(found, truth):
    return (found & truth).sum() / (found | truth).sum()


@pytest.mark.parametrize("colour", [PINK, PALE, VIOLET])
def test_a_stained_disc_is_found_as_it_was_drawn(colour):
    truth = disc(200, (90, 110), 50)
    assert agreement(find_tissue(draw(ground(), truth, colour), MPP), truth) > 0.94


TINTED = [GLASS, (255, 255, 255), (225, 218, 224), (200, 200, 200), (225, 230, 240), (240, 235, 225)]


@pytest.mark.parametrize("glass", TINTED)
def test_empty_glass_of_any_shade_holds_no_tissue(glass):
    assert not find_tissue(ground(glass), MPP).any()
    assert not find_tissue(np.full((40, 40, 3), glass, np.uint8), MPP).any()


@pytest.mark.parametrize("glass", TINTED)
def test_tissue_is_found_on_glass_of_any_shade_also_where_most_was_never_scanned(glass):
    truth = disc(200, (60, 110), 40)
    rgb = ground(glass)
    rgb[truth] = (rgb[truth] / 255.0 * PINK).round().astype(np.uint8)
    assert agreement(find_tissue(rgb, MPP), truth) > 0.93
    rgb[110:] = 255
    assert agreement(find_tissue(rgb, MPP), truth) > 0.93


@pytest.mark.parametrize("colour", [PINK, PALE, VIOLET])
def test_a_slide_that_is_all_tissue_is_all_found_whatever_lies_in_it(colour):
    rgb = draw(ground(colour), disc(200, (50, 50), 30), tuple(np.add(VIOLET, GLASS) - np.array(colour)))
    assert find_tissue(rgb, MPP).all()


def test_a_tiny_biopsy_on_much_glass_is_found():
    truth = disc(600, (300, 200), 12)
    assert agreement(find_tissue(draw(ground(size=600), truth, PINK), MPP), truth) > 0.75


def test_dark_and_pale_tissue_are_both_found():
    dark, pale = disc(200, (60, 60), 30), disc(200, (140, 140), 40)
    rgb = draw(draw(ground(), dark, VIOLET), pale, PALE)
    assert agreement(find_tissue(rgb, MPP), dark | pale) > 0.93


def test_shadows_and_dust_are_grey_and_no_tissue():
    rgb = ground()
    rgb[:, :60] -= 60
    rgb[disc(200, (100, 150), 20)] = 90
    assert not find_tissue(rgb, MPP).any()


PENS = {"blue": (40, 60, 180), "dark blue": (30, 65, 130), "green": (20, 140, 90), "teal": (0, 130, 120)}
PENS["black"] = (30, 25, 35)


def pen_stroke(pen):
    """A stroke that fades into the glass over some pixels."""
    y, x = np.mgrid[:200, :200]
    cover = np.clip((14 - np.abs(x - 30 - 0.1 * y)) / 4, 0, 1)[..., None]
    return (ground() * (1 - cover) + cover * PENS[pen]).round().astype(np.uint8)


@pytest.mark.parametrize("pen", PENS)
def test_pen_marks_are_no_tissue_but_tissue_beside_them_is(pen):
    assert not find_tissue(pen_stroke(pen), MPP).any()
    truth = disc(200, (100, 130), 50)
    assert agreement(find_tissue(draw(pen_stroke(pen), truth, PINK), MPP), truth) > 0.93


def test_stained_tissue_is_no_ink():
    for colour in (PINK, PALE, VIOLET, (57, 51, 131), (190, 200, 215), GLASS):
        assert not is_ink(np.full((2, 2, 3), colour, np.uint8)).any()


@pytest.mark.parametrize("mpp", [4.0, 8.0, 16.0])
def test_specks_and_holes_go_by_their_area_in_microns_at_any_resolution(mpp):
    size = round(3200 / mpp)

    def place(y_um, x_um, across_um):
        return disc(size, (y_um / mpp, x_um / mpp), across_um / 2 / mpp)

    rgb = draw(ground(size=size), place(1600, 1600, 1600), PINK)
    for x_um, across_um in ((1300, 60), (1700, 220)):
        rgb[place(1600, x_um, across_um)] = GLASS
    for x_um, across_um in ((400, 50), (2800, 220)):
        draw(rgb, place(300, x_um, across_um), PINK)
    found = find_tissue(rgb, mpp)
    assert [bool(found[round(1600 / mpp), round(x / mpp)]) for x in (1300, 1700)] == [True, False]
    assert [bool(found[round(300 / mpp), round(x / mpp)]) for x in (400, 2800)] == [False, True]


def write_slide(path, rgb, mpp):
    resolution = (10_000 / mpp, 10_000 / mpp)
    tifffile.imwrite(path, rgb, photometric="rgb", tile=(128, 128), resolution=resolution, resolutionunit="CENTIMETER")
    return open_image(path)


def test_a_slides_tissue_lies_where_the_slide_shows_it(tmp_path):
    truth = disc(1600, (600, 900), 500)
    reader = write_slide(tmp_path / "slide.tif", draw(ground(size=1600), truth, PINK), 1.0)
    tissue = tissue_of(reader)
    reader.close()
    assert tissue.cell_px == pytest.approx(TISSUE_MPP, rel=0.01)
    cells = ((np.arange(1600) + 0.5) / tissue.cell_px).astype(int)
    assert agreement(tissue.mask[cells][:, cells], truth) > 0.97


def test_a_slide_without_resolution_names_the_way_out(tmp_path):
    tifffile.imwrite(tmp_path / "slide.tif", ground(), photometric="rgb", tile=(128, 128))
    reader = open_image(tmp_path / "slide.tif")
    with pytest.raises(DataError, match="--assume-mpp"):
        tissue_of(reader)
    reader.close()
