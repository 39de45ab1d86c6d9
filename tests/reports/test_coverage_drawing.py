import pytest

from histoproto.reports.coverage import Kept, coverage_curve, coverage_rows, coverage_words, spread
from histoproto.reports.drawings import legible
from histoproto.taxonomy import TAXONOMIES, Taxonomy

TOY = Taxonomy("toy", ("A", "B"), ("A", "B"), ((255, 0, 0), (0, 255, 0)))


def row(keep, kept, precision, a, b):
    """Return a row of ``metrics.json`` with kept share and precision of classes A and B."""
    per_class = {name: {"threshold": 0.5, "kept": own[0], "precision": own[1]} for name, own in (("A", a), ("B", b))}
    return {"keep": keep, "kept": kept, "precision": precision, "per_class": per_class}


NEVER = (None, None)
CURVE = [
    row(1.0, 1.0, 0.8, (1.0, 0.8), NEVER),
    row(0.8, 0.85, 0.9, (0.85, 0.9), NEVER),
    row(0.7, 0.85, 0.9, (0.85, 0.9), NEVER),
]


def lines_of(curve):
    """Return the points of each line of a drawing; single points stand beside names."""
    (axes,) = coverage_curve(curve, TOY).figure.axes
    return [list(zip(*line.get_data(), strict=True)) for line in axes.lines if len(line.get_xdata()) > 1]


def test_rows_that_keep_the_same_pixels_are_one_point_and_a_class_never_predicted_has_no_line():
    of_a, of_all = lines_of(CURVE)
    assert of_a == of_all == [(1.0, 0.8), (0.85, 0.9)]


def test_the_table_says_where_more_stays_than_was_asked_for():
    assert [(found.keep, found.cells) for found in coverage_rows(CURVE)] == [
        (1.0, [Kept(0.8, None), Kept(0.8, None), Kept(None, None)]),
        (0.8, [Kept(0.9, 0.85), Kept(0.9, 0.85), Kept(None, None)]),
        (0.7, [Kept(0.9, 0.85), Kept(0.9, 0.85), Kept(None, None)]),
    ]


def test_the_sentence_compares_all_pixels_with_the_sure_ones():
    assert coverage_words(CURVE).replace("\u00a0", " ") == (
        "80.0 % of the pixels have the right tissue; of the surest 80 % of each class, 90.0 % have."
    )


@pytest.mark.parametrize("curve", [[], CURVE[:1], [row(keep, None, None, NEVER, NEVER) for keep in (1.0, 0.8)]])
def test_where_nothing_is_known_nothing_is_said(curve):
    assert coverage_words(curve) == ""


def test_names_that_would_cover_each_other_move_apart_and_others_stay():
    assert spread([0.1, 0.5, 0.5, 0.9], 0.1) == pytest.approx([0.1, 0.45, 0.55, 0.9])
    assert spread([0.2, 0.6], 0.1) == pytest.approx([0.2, 0.6])


def contrast(one, other):
    """Return the contrast of two colours after WCAG 2.2, 1..21."""
    low, high = sorted(luminance(colour) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def luminance(colour):
    values = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    light = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values]
    return sum(part * weight for part, weight in zip(light, (0.2126, 0.7152, 0.0722), strict=True))


EXTREMES = ((0, 0, 0), (255, 255, 255), (255, 255, 0), (0, 0, 255))


@pytest.mark.parametrize("colour", [*EXTREMES, *(c for known in TAXONOMIES.values() for c in known.colours)])
def test_every_colour_can_be_seen_on_a_white_and_on_a_dark_page(colour):
    for page in ("#ffffff", "#14181b"):
        assert contrast(legible(colour), page) >= 3


def test_a_colour_that_can_be_seen_is_left_as_it_is():
    assert legible((255, 0, 0)) == "#ff0000"


def test_a_colour_that_cannot_be_seen_keeps_its_hue():
    assert legible((0, 255, 0))[1:3] == legible((0, 255, 0))[5:] == "00"
    blue = legible((0, 0, 255))
    assert blue.endswith("ff")
    assert blue[1:3] == blue[3:5]
