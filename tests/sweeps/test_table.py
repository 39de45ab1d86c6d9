import csv
from dataclasses import replace

import pytest

from histoproto.published.reader import read_published
from histoproto.sweeps.cells import cells_of
from histoproto.sweeps.definition import read_sweep
from histoproto.sweeps.gather import Figure, Spread, spread
from histoproto.sweeps.table import make_table, text_of
from histoproto.sweeps.writing import latex, markdown, write_table

TABLE4, TABLE1 = read_sweep("pbip-table4"), read_sweep("pbip-table1")


def figures(cell, *values, measure="miou", gate="predicted", background="ignored"):
    return [Figure(cell, seed, gate, background, measure, value) for seed, value in enumerate(values)]


def table_of(definition, held=(), dataset="bcss-wsss", remarks=("Ours: toys.",)):
    return make_table(definition, cells_of(definition), list(held), dataset, remarks)


def row(table, label):
    (found,) = [row for row in table.rows if row.label == label]
    return found


def test_a_mean_over_seeds_has_the_sample_standard_deviation_and_leaves_out_what_is_not_known():
    held = figures("K=1", 50.0, 52.0, None, 54.0)
    assert spread(held, "K=1", "predicted", "ignored", "miou") == Spread(52.0, 2.0, 3)
    assert spread(held, "K=2", "predicted", "ignored", "miou") is None
    assert [text_of(value) for value in (Spread(52.0, 2.0, 3), Spread(52.0, None, 1), None)] == [
        "52.00 ± 2.00",
        "52.00",
        "–",
    ]


def test_published_figures_stand_beside_the_cell_of_the_same_name_and_data():
    table = table_of(TABLE4)
    assert [row.published[0].value for row in table.rows] == [67.03, 67.15, 68.01, 67.81, 67.53]
    luad = table_of(TABLE4, dataset="luad-histoseg")
    assert [row.published[0].value for row in luad.rows] == [74.91, 75.12, 74.87, 73.72, 74.07]


@pytest.mark.parametrize("name", ["pbip-table2", "pbip-table3", "pbip-table4", "pbip-table5", "pbip-table6"])
def test_every_published_row_of_an_ablation_has_its_cell(name):
    table = table_of(read_sweep(name))
    alone = {row.label for row in table.rows if row.figures and row.label not in _cell_names(name)}
    assert alone <= {"fourth row"}
    without = {cell for cell in _cell_names(name) if not row(table, cell).figures}
    assert without <= {"FGS + BGS", "DINOv2 + ResNet18", "DINOv2 + ResNet50"}


def _cell_names(name):
    return [cell.name for cell in cells_of(read_sweep(name))]


def test_columns_in_which_nothing_is_published_are_left_out():
    assert [column.heading for column in table_of(TABLE4).published_columns] == ["mIoU"]
    assert [column.heading for column in table_of(TABLE1).published_columns] == ["mIoU", "FwIoU", "bIoU", "Dice"]
    assert table_of(TABLE4, dataset=None).published_columns == ()


def test_all_published_methods_stand_below_ours():
    table = table_of(TABLE1)
    labels = [row.label for row in table.rows]
    assert labels[:4] == ["CAM", "PBIP", "LPD", "ConStruct"]
    assert row(table, "CAM").figures == ()
    assert row(table, "LPD").published[0].value == 71.96
    assert {"MLPS (PBIP Table 1)", "MLPS (PDSeg main table)", "ESFAN stage 2 (ESFAN README)"} <= set(labels)
    shown = [figure for row in table.rows for figure in row.figures]
    wanted = [f for f in read_published() if f.dataset == "bcss-wsss" and f.table in TABLE1.published.tables]
    assert sorted(figure.key for figure in shown) == sorted(figure.key for figure in wanted)


def test_a_published_row_without_a_cell_is_called_by_what_tells_it_from_the_others():
    of_one_table = replace(TABLE1, published=replace(TABLE1.published, tables=("PBIP Table 1",)))
    assert "MLPS" in [row.label for row in table_of(of_one_table).rows]
    assert "fourth row" in [row.label for row in table_of(read_sweep("pbip-table2")).rows]


def test_the_protocol_of_every_published_figure_is_named_below_the_table():
    notes = "\n".join(table_of(TABLE1).notes)
    assert notes.startswith("Ours: toys.")
    assert "PBIP Table 1: stage 2, 5 seeds, unknown: gate, background" in notes
    assert "gate oracle, background predicted, views flip x contrast, CRF dense, checkpoint last" in notes
    assert "x: no pooled confusion matrix gives this Dice" in notes
    assert "(protocol read in the released code)" in "\n".join(table_of(TABLE4).notes)


def test_markdown_holds_ours_theirs_and_the_notes():
    text = markdown(table_of(TABLE4, figures("K=3", 60.0, 62.0)))
    (line,) = [line for line in text.splitlines() if line.startswith("| K=3")]
    assert line == "| K=3 | 61.00 ± 1.41 | – | – | – | – | 68.01 ± 0.6 |"
    assert "* Ours: toys." in text
    assert "^x^" in markdown(table_of(TABLE1))


def test_latex_is_escaped_and_has_as_many_cells_as_columns():
    text = latex(table_of(TABLE1, remarks=["50 % & a_b"]))
    assert "50 \\% \\& a\\_b" in text
    body = text.split("\\midrule")[1].split("\\bottomrule")[0].strip().splitlines()
    assert {line.count(" & ") for line in body} == {5 + 4}
    assert text.count("\\begin{tabular}{lrrrrrrrrr}") == 1
    assert "K=3 + $\\lambda$=0.5" in latex(table_of(read_sweep("lpd-prototypes")))


def test_all_files_are_written(tmp_path):
    held = figures("K=3", 60.0, 62.0)
    for file in write_table(tmp_path, table_of(TABLE4, held), held):
        assert file.stat().st_size > 0
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [r["mean"] for r in rows if r["setting"] == "K=3"] == ["61.0000", "68.0100"]
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "figures.csv").read_text().splitlines()[1] == "K=3,0,predicted,ignored,miou,60.0000"


def test_a_sweep_without_any_result_or_published_figure_still_has_its_files(tmp_path):
    nothing = make_table(replace(TABLE4, published=None), cells_of(TABLE4), [], None, [])
    assert len(write_table(tmp_path, nothing, [])) == 5
