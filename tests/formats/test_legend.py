import numpy as np
import pytest
from PIL import Image

from histoproto.formats.areas import class_areas
from histoproto.formats.legend import INK, Entry, class_entries, scale_bar, with_legend
from histoproto.taxonomy import BCSS_WSSS

PX = 1000


def texts(counts, mpp):
    values = np.repeat(np.arange(len(counts)), counts).astype(np.uint8)[None]
    return [entry.text for entry in class_entries(class_areas(values, BCSS_WSSS, mpp), BCSS_WSSS)]


def test_a_class_has_its_square_millimetres_and_its_share():
    assert texts([300_000, 699_000, 1000], mpp=2.0) == [
        "Tumour  1.2 mm² (30%)",
        "Stroma  2.8 mm² (70%)",
        "Lymphocytic infiltrate  0.004 mm² (< 1%)",
        "Necrosis  none",
    ]
    assert texts([3, 1], mpp=0.5)[0] == "Tumour  < 0.001 mm² (75%)"
    assert texts([3, 1], mpp=30_000.0)[0] == "Tumour  2700 mm² (75%)"


def test_where_the_size_is_unknown_the_share_stands_alone():
    assert texts([3, 1], mpp=None)[:2] == ["Tumour  75%", "Stroma  25%"]


@pytest.mark.parametrize(
    ("picture_um", "text", "width_px"),
    [
        (60_000, "10 mm", 167),
        (50_000, "10 mm", 200),
        (49_999, "5 mm", 100),
        (12_000, "2 mm", 167),
        (5_000, "1 mm", 200),
        (4_999, "500 µm", 100),
        (112, "20 µm", 179),
        (10, "2 µm", 200),
    ],
)
def test_the_scale_bar_is_the_longest_round_length_that_a_fifth_of_the_picture_holds(picture_um, text, width_px):
    assert scale_bar(PX, float(picture_um)) == (text, width_px)


def longest_run(row):
    edges = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]]).astype(int)))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def test_the_bar_that_is_drawn_has_the_length_that_it_names_and_lies_at_the_right():
    bar = scale_bar(PX, 5_000.0)
    strip = np.asarray(with_legend(Image.new("RGB", (PX, 50)), [Entry("Tumour", (255, 0, 0))], bar))[50:]
    ink = (strip == INK).all(-1)
    assert max(map(longest_run, ink)) == bar.width_px
    assert 0 < PX - np.flatnonzero(ink.any(0)).max() < 20


def test_the_picture_stays_as_it_is_and_entries_take_the_lines_they_need():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 400, 3), np.uint8))
    few = with_legend(picture, [Entry("Tumour", (255, 0, 0))], None)
    many = with_legend(picture, [Entry("Tumour-associated stroma", (255, 0, 0))] * 6, scale_bar(400, 100.0))
    for sheet in (few, many):
        assert (np.asarray(sheet)[:60, :400] == np.asarray(picture)).all()
    assert few.width == many.width == 400
    assert many.height - 60 > 3 * (few.height - 60)
