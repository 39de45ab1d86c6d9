import csv

import pytest
from matplotlib.figure import Figure
from PIL import Image

from histoproto.reports.drawings import FIRST, Drawing
from histoproto.reports.folder import write_folder
from histoproto.reports.sheets import shortened
from histoproto.reports.tables import Table


def drawing(name="curve"):
    figure = Figure(figsize=(2, 1))
    figure.add_subplot().plot([0, 1], color=FIRST)
    return Drawing(name, "a line", figure)


def rows_of(file):
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_every_drawing_is_there_twice_and_every_table_once(tmp_path):
    assert write_folder(tmp_path, [drawing()], [Table("numbers", "some", [{"a": 1}, {"a": None, "b": 0.1}])]) == 3
    assert FIRST in (tmp_path / "curve.svg").read_text()
    assert "var(--" not in (tmp_path / "curve.svg").read_text()
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.size == (400, 200)
    assert rows_of(tmp_path / "numbers.csv") == [{"a": "1", "b": ""}, {"a": "", "b": "0.1"}]
    assert [row["file"] for row in rows_of(tmp_path / "index.csv")] == ["curve.svg", "curve.png", "numbers.csv"]


def test_inside_the_page_a_drawing_takes_the_colours_of_the_page():
    assert "var(--accent)" in drawing().inline
    assert FIRST not in drawing().inline
    assert "#ffffff" not in drawing().inline  # the page shows through, also in the dark


def test_what_is_not_made_again_goes_and_what_others_put_there_stays(tmp_path):
    write_folder(tmp_path, [drawing("old"), drawing("kept")], [])
    (tmp_path / "mine.txt").write_text("mine")
    write_folder(tmp_path, [drawing("kept")], [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.csv", "kept.png", "kept.svg", "mine.txt"]


def test_an_index_cannot_name_a_file_elsewhere(tmp_path):
    folder = tmp_path / "report"
    folder.mkdir()
    (tmp_path / "dear.csv").write_text("dear")
    (folder / "index.csv").write_text("file,shows\n../dear.csv,x\n")
    write_folder(folder, [], [])
    assert (tmp_path / "dear.csv").is_file()


@pytest.mark.parametrize(("text", "short"), [("abc", "abc"), ("abcdefghij", "ab…ij")])
def test_long_names_keep_both_ends(text, short):
    assert shortened(text, 5) == short
