import numpy as np
import pytest
from PIL import Image

from histoproto.formats.areas import class_areas
from histoproto.formats.overlay import LONGEST_PX, OUTLINE_COLOUR, TINT, UNDECIDED_COLOUR, draw_overlay, write_overlay
from histoproto.taxonomy import BCSS_WSSS, IGNORE, Taxonomy


def grey(height, width):
    return np.full((height, width, 3), 200, np.uint8)


def halves(left, right, side=600):
    mask = np.full((side, side), left, np.uint8)
    mask[:, side // 2 :] = right
    return mask


def drawn(rgb, mask, taxonomy=BCSS_WSSS, mpp=None):
    width_um = None if mpp is None else mpp * mask.shape[1]
    return np.asarray(draw_overlay(rgb, mask, taxonomy, class_areas(mask, taxonomy, mpp), width_um))


def test_classes_are_tinted_and_their_common_border_has_the_colour_of_each_on_its_side():
    picture = drawn(grey(600, 600), halves(0, 1))
    for column, colour in ((100, BCSS_WSSS.colours[0]), (500, BCSS_WSSS.colours[1])):
        expected = (1 - TINT) * 200 + TINT * np.array(colour)
        assert np.abs(picture[300, column] - expected).max() <= 1
    assert picture[300, 299].tolist() == list(BCSS_WSSS.colours[0])
    assert picture[300, 300].tolist() == list(BCSS_WSSS.colours[1])


@pytest.mark.parametrize("other", [BCSS_WSSS.background, IGNORE])
def test_a_class_that_ends_at_background_or_undecided_pixels_has_no_border_there(other):
    picture = drawn(grey(600, 600), halves(0, other))
    assert (picture[:600, :300] == picture[300, 100]).all()
    assert (picture[:600, 300:600] == (200 if other == BCSS_WSSS.background else picture[300, 500])).all()


def test_undecided_pixels_are_tinted_grey_and_named():
    picture = drawn(grey(600, 600), halves(0, IGNORE))
    assert np.abs(picture[300, 500] - ((1 - TINT) * 200 + TINT * np.array(UNDECIDED_COLOUR))).max() <= 1
    assert (picture[600:] == UNDECIDED_COLOUR).all(-1).sum() > 50
    assert (drawn(grey(600, 600), halves(0, 1))[600:] == UNDECIDED_COLOUR).all(-1).sum() < 50


def test_the_legend_shows_every_class_below_the_picture():
    legend = drawn(grey(600, 600), halves(0, 1))[600:]
    for colour in BCSS_WSSS.colours:
        assert (legend == colour).all(-1).sum() > 50


@pytest.mark.parametrize(("height", "width"), [(1, 1), (20, 1900), (224, 224), (3000, 40)])
def test_pictures_of_any_shape_have_a_readable_legend(height, width):
    picture = drawn(grey(height, width), np.zeros((height, width), np.uint8))
    assert max(picture.shape[:2]) <= LONGEST_PX + 200
    assert picture.shape[1] >= 200
    assert (picture == BCSS_WSSS.colours[3]).all(-1).sum() > 50


def test_a_patch_is_enlarged_by_a_whole_factor():
    picture = drawn(grey(224, 224), np.full((224, 224), BCSS_WSSS.background, np.uint8))
    assert (picture[: 3 * 224, : 3 * 224] == 200).all()
    assert picture.shape[1] == 3 * 224


def test_a_mask_of_another_resolution_is_laid_over_the_same_field():
    picture = drawn(grey(600, 600), halves(0, BCSS_WSSS.background, side=2400))
    assert (picture[:600, 300:600] == 200).all()
    assert (picture[:600, :300] != 200).any(-1).all()


def test_many_long_names_go_on_in_the_next_line():
    names = tuple(f"a tissue with a long name {number}" for number in range(9))
    many = Taxonomy("many", tuple("abcdefghi"), names, tuple((20 * number, 90, 255) for number in range(9)))
    mask = np.full((600, 600), 9, np.uint8)
    legend = drawn(grey(600, 600), mask, many)[600:]
    assert all((legend == colour).all(-1).sum() > 50 for colour in many.colours)


def test_the_file_is_an_rgb_png(tmp_path):
    mask = halves(0, 1)
    areas = class_areas(mask, BCSS_WSSS, None)
    write_overlay(tmp_path / "out" / "overlay.png", grey(600, 600), mask, BCSS_WSSS, areas, None)
    with Image.open(tmp_path / "out" / "overlay.png") as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["overlay.png"]


def test_what_was_asked_for_is_outlined_with_its_name_even_at_the_border():
    mask = halves(0, 1)
    ring = np.array([[-5.0, -5.0], [300, -5], [300, 400], [-5, 400], [-5, -5]])
    areas = class_areas(mask, BCSS_WSSS, None)
    picture, unnamed = (
        np.asarray(draw_overlay(grey(600, 600), mask, BCSS_WSSS, areas, None, {name: [ring]})) for name in ("left", " ")
    )
    assert (picture[400, 20:280] == OUTLINE_COLOUR).all()
    assert (picture[20:380, 300] == OUTLINE_COLOUR).all()
    rows, columns = np.nonzero((picture != unnamed).any(-1))
    assert 0 < rows.min() <= rows.max() < 40
    assert 0 < columns.min() <= columns.max() < 80
