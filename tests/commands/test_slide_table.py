import json

import pytest
import tifffile

from histoproto.commands.slide_table import read_slide_table
from histoproto.errors import DataError


@pytest.fixture
def bare(slide, tmp_path):
    """Two slides that do not say their microns per pixel."""
    paths = [tmp_path / "slides" / name for name in ("one.tif", "two.tif")]
    paths[0].parent.mkdir()
    for path in paths:
        tifffile.imwrite(path, tifffile.imread(slide), photometric="rgb", tile=(64, 64))
    return paths


def test_a_table_gives_each_slide_its_own_microns_per_pixel(command, trained, bare, tmp_path):
    table = tmp_path / "slides.csv"
    table.write_text("path,mpp\nslides/one.tif,0.5\nslides/two.tif,0.25\n")
    assert command("predict", trained, table, "--out", tmp_path / "out") == 0
    widths = [json.loads((tmp_path / "out" / name / "areas.json").read_text())["width_px"] for name in ("one", "two")]
    assert widths == [320, 160]


def test_where_the_table_says_nothing_the_option_holds(command, trained, bare, tmp_path):
    table = tmp_path / "slides.csv"
    table.write_text("path,mpp\nslides/one.tif,\n")
    assert command("predict", trained, table, "--out", tmp_path / "out") == 2
    assert command("predict", trained, table, "--out", tmp_path / "out", "--assume-mpp", "0.5") == 0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("file\na.tif\n", "no column path"),
        ("", "no column path"),
        ("path\n", "no slide in it"),
        ("path\nabsent.tif\n", "does not exist; 1 of 1"),
        ("path,mpp\nslides/one.tif,big\n", "line 2: mpp big"),
        ("path,mpp\nslides/one.tif,353\n", "line 2: mpp 353"),
    ],
)
def test_a_wrong_table_is_refused_in_one_sentence(bare, tmp_path, text, sentence):
    table = tmp_path / "slides.csv"
    table.write_text(text)
    with pytest.raises(DataError, match=sentence):
        read_slide_table(table)


def test_a_table_that_is_none_is_refused(tmp_path):
    (tmp_path / "slides.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(DataError, match="no CSV table"):
        read_slide_table(tmp_path / "slides.csv")
