import numpy as np
from PIL import Image

from histoproto.reports.explain_pictures import SIDE_PX, heat, marked, matrices, photograph, sheet

GREY = Image.new("RGB", (180, 90), (120, 120, 120))


def test_the_mark_surrounds_its_spot_and_nothing_else():
    changed = np.asarray(marked(GREY, (0.5, 0.5, 0.75, 1.0))) != np.asarray(GREY)
    rows, columns = np.nonzero(changed.any(-1))
    assert 80 <= columns.min() <= 90
    assert 130 <= columns.max() <= 140
    assert 38 <= rows.min() <= 45
    assert rows.max() == 89
    assert not changed[60:70, 100:120].any()


def test_a_tiny_spot_in_a_corner_is_marked_inside_the_picture():
    changed = (np.asarray(marked(GREY, (0.0, 0.0, 0.01, 0.01))) != np.asarray(GREY)).any(-1)
    assert changed[0, :10].all()
    assert changed[:, 40:].sum() == 0
    assert changed.any(0).sum() >= 15


def test_the_glow_is_brightest_where_the_activation_is():
    warm = np.asarray(heat(GREY, np.array([[-0.5, 0.8]]), low=-0.5, high=0.8)).astype(int)
    assert warm[45, 170].sum() > warm[45, 10].sum() + 100
    np.testing.assert_allclose(warm[45, 10], 120, atol=2)


def test_photographs_of_any_shape_get_one_side(tmp_path):
    GREY.save(tmp_path / "wide.png")
    assert photograph(tmp_path / "wide.png").size == (SIDE_PX, SIDE_PX // 2)


def test_a_sheet_holds_its_rows_even_when_one_is_empty():
    drawn = sheet("TUM 1", (255, 0, 0), [("Nearest", [GREY, GREY]), ("None", [])])
    assert drawn.width > 2 * GREY.width
    assert drawn.getpixel((2, drawn.height // 2)) == (255, 0, 0)


def test_two_matrices_and_a_scale_make_a_figure():
    figure = matrices([("a", [[1.0, 0.5], [0.5, 1.0]]), ("b", [[1.0, -1.0], [-1.0, 1.0]])], ["x 1", "y 1"], [1, 1])
    assert [axes.get_title(loc="left") for axes in figure.axes[:2]] == ["a", "b"]
    assert len(figure.axes) == 3
