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


def test_two_tables_that_disagree_on_a_slide_are_refused(command, trained, bare, tmp_path, capsys):
    tables = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for table, mpp in zip(tables, ("0.5", "0.25"), strict=True):
        table.write_text(f"path,mpp\nslides/one.tif,{mpp}\n")
    assert command("predict", trained, *tables, "--out", tmp_path / "out") == 2
    assert "named twice, with 0.5 and 0.25 microns per pixel" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_assumed_resolution_leaves_a_note_and_a_slide_s_own_is_kept_with_one(
    command, trained, bare, slide, tmp_path, capsys
):
    out = tmp_path / "out"
    assert command("predict", trained, bare[0], slide, "--out", out, "--assume-mpp", "0.25") == 0
    notes = {name: json.loads((out / name / "areas.json").read_text())["notes"] for name in ("one", "slide")}
    assert notes["one"] == ["does not say its microns per pixel: taken for 0.25"]
    assert notes["slide"] == ["says 0.5 microns per pixel itself: kept, not the 0.25 that were given"]
    assert "Note: one: does not say its microns per pixel: taken for 0.25." in capsys.readouterr().out


def test_a_slide_that_says_its_resolution_is_not_made_anew_for_another_assumed_one(
    command, trained, bare, slide, tmp_path, capsys
):
    options = ("predict", trained, bare[0], slide, "--out", tmp_path / "out", "--assume-mpp")
    assert command(*options, "0.5") == 0
    capsys.readouterr()
    assert command(*options, "0.25") == 0
    said = capsys.readouterr().err
    assert "Note: 1 result of other options: predicted anew." in said
    assert "slide: was done before" in said
    assert "one: done in" in said


@pytest.mark.parametrize("mpp", ["250", "-1"])
def test_an_impossible_resolution_is_refused_before_anything_is_recorded(mpp, command, trained, bare, tmp_path, capsys):
    out = tmp_path / "out"
    for line in (("predict", trained, *bare), ("slides", "tissue", *bare), ("patches", *bare)):
        assert command(*line, "--out", out, f"--assume-mpp={mpp}") == 2
        assert f"--assume-mpp {mpp}: give 0.01 to 10 microns per pixel" in capsys.readouterr().err
    assert not out.exists()


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
        ("path;mpp\nslides/one.tif;0.5\n", "separated by semicolons"),
        ("path,mpp\nslides/one.tif,0.5\n,0.5\n", "line 3: no path; name a slide or remove the line"),
        ("path,mpp\nslides/one.tif,0.5\nslides/one.tif,0.25\n", "named twice, with 0.5 and 0.25 microns per pixel"),
        ("path\nabsent.tif\n", "does not exist; 1 of 1"),
        ("path,mpp\nslides/one.tif,big\n", "line 2: mpp big"),
        ("path,mpp\nslides/one.tif,353\n", "line 2: mpp 353"),
        ('path,mpp\nslides/one.tif,"0,25"\n', "line 2: mpp 0,25 .*; write a point in place of the comma"),
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
