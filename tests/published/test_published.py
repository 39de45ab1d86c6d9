import csv
from pathlib import Path

import pytest

from histoproto.errors import DataError
from histoproto.published.reader import FILE, read_published

DOCS = Path(__file__).parents[2] / "docs"
ROWS = read_published()
PBIP_DICE = [row for row in ROWS if row.measure == "dice" and row.table.startswith("PBIP")]
ROUNDING = 0.03
"""Percent points that rounding of mIoU and Dice to two digits, and a little carelessness, may add."""


def miou_beside(figure):
    (found,) = [row.value for row in ROWS if row.key == (*figure.key[:-1], "miou")]
    return found


def deviation(figure):
    """Return how far a printed Dice lies above the most that the printed mIoU allows, percent points.

    Dice of a class is 2 IoU / (1 + IoU), a concave function, so that the mean of the Dice of several classes is at
    most the Dice of their mean IoU, and equal to it only if all have the same IoU.
    """
    miou = miou_beside(figure)
    return figure.value - 200 * miou / (100 + miou)


def test_rows_stand_in_order_and_no_figure_stands_twice():
    keys = [row.key for row in ROWS]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)


def test_every_figure_is_a_percentage_and_every_deviation_has_its_figure():
    for row in ROWS:
        assert row.value is None or 0 <= row.value <= 100, row
        assert row.sd is None or row.value is not None, row


def test_a_dice_of_pbip_is_called_impossible_exactly_where_one_confusion_matrix_cannot_give_it():
    assert len(PBIP_DICE) > 60
    for figure in PBIP_DICE:
        assert (figure.status == "impossible") == (deviation(figure) >= -ROUNDING), figure


def test_most_of_pbips_dice_column_is_a_formula_of_its_miou_column():
    first = [abs(deviation(figure)) <= ROUNDING for figure in PBIP_DICE if figure.table == "PBIP Table 1"]
    second = [abs(deviation(figure)) <= ROUNDING for figure in PBIP_DICE if figure.table == "PBIP Table 2"]
    assert (sum(first), len(first)) == (34, 40)
    assert (sum(second), len(second)) == (5, 5)


def test_dice_of_later_papers_respects_the_bound():
    later = [row for row in ROWS if row.measure == "dice" and not row.table.startswith("PBIP") and row.value]
    assert len(later) >= 5
    assert all(deviation(figure) < 0 for figure in later)


def test_inferred_dice_is_the_mean_of_the_dice_of_each_class():
    named = {row.key: row for row in ROWS}
    checked = 0
    for row in ROWS:
        if row.measure == "dice" and row.status == "inferred" and "each class" in row.note:
            ious = [named[(*row.key[:-1], f"iou[{name}]")].value for name in ("TUM", "STR", "LYM", "NEC")]
            dice = [200 * iou / (100 + iou) for iou in ious]
            assert row.value == pytest.approx(sum(dice) / 4, abs=0.01)
            checked += 1
    assert checked == 3


def test_a_mean_over_classes_is_the_mean_of_its_classes():
    values = {row.key: row.value for row in ROWS}
    checked = 0
    for mean, of_class, tolerance in (("f1", "f1", 0.1), ("miou", "iou", 0.02)):
        for *setting, measure in list(values):
            classes = [values.get((*setting, f"{of_class}[{name}]")) for name in ("TUM", "STR", "LYM", "NEC")]
            if measure == mean and None not in classes:
                assert values[(*setting, measure)] == pytest.approx(sum(classes) / 4, abs=tolerance), setting
                checked += 1
    assert checked == 6 + 3


def test_what_nobody_retrieved_is_unknown_and_says_so():
    unknown = [row for row in ROWS if row.value is None]
    assert {row.method for row in unknown} >= {"HisynSeg", "SIA-WSSS", "SSHR", "LPD", "PBIP"}
    assert all("not retrieved" in row.note or "only as a plot" in row.note for row in unknown)


def test_the_figures_that_everybody_quotes_are_there():
    quoted = {(row.table, row.dataset, row.method, row.variant): row.value for row in ROWS if row.measure == "miou"}
    assert quoted["PBIP Table 1", "bcss-wsss", "PBIP", "main"] == 69.54
    assert quoted["PBIP Table 4", "gcss", "PBIP", "K=4"] == 53.91
    assert quoted["LPD main table", "bcss-wsss", "LPD", "main"] == 71.96
    assert quoted["ConStruct ablation", "bcss-wsss", "ConStruct", "without distillation"] == 70.40
    assert quoted["ESFAN README", "luad-histoseg", "ESFAN", "stage 2"] == 79.55


def test_no_protocol_claims_what_nobody_stated():
    (main,) = [row for row in ROWS if row.key == ("PBIP Table 1", "bcss-wsss", "PBIP", "main", "miou")]
    assert main.protocol == "stage 2, 5 seeds, unknown: gate, background, views, CRF, checkpoint"


def test_the_page_of_the_docs_is_the_same_file():
    link = DOCS / "published.csv"
    assert link.is_symlink()
    assert not link.readlink().is_absolute()
    assert link.resolve() == FILE.resolve()


@pytest.mark.parametrize(
    ("column", "word", "sentence"),
    [("gate", "orakel", "gate: input should be"), ("value", "much", "value: input should be a valid number")],
)
def test_a_word_that_is_not_allowed_is_named_with_its_line(column, word, sentence, tmp_path):
    with FILE.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))[:3]
    rows[1][column] = word
    file = tmp_path / "wrong.csv"
    with file.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(DataError, match=f"wrong.csv:3: {sentence}"):
        read_published(file)
