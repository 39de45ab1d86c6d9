import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from histoproto.commands.regions_of_interest import read_regions
from histoproto.errors import DataError
from histoproto.formats.qupath import QuPathObject, read_qupath, write_qupath
from histoproto.slides import reader as readers
from histoproto.slides.tissue import TISSUE_MPP

shapely = pytest.importorskip("shapely")
pytest.importorskip("rasterio")

SIDE = 800
TISSUE = (slice(200, 600), slice(104, 504))


def write_slide(path, *, mpp=1.0, tissue=TISSUE):
    """A square of pink tissue on glass."""
    rgb = np.full((SIDE, SIDE, 3), 243, np.uint8)
    if tissue:
        rgb[tissue] = (214, 140, 180)
    path.parent.mkdir(parents=True, exist_ok=True)
    resolution = {} if mpp is None else {"resolution": (10_000 / mpp, 10_000 / mpp), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, rgb, photometric="rgb", tile=(256, 256), **resolution)
    return path


@pytest.fixture
def slide(tmp_path):
    return write_slide(tmp_path / "slides" / "one.tif")


def test_the_outline_lies_within_a_cell_of_the_tissues_border_and_a_picture_shows_it(slide, tmp_path, command):
    assert command("slides", "tissue", slide, "--out", tmp_path / "out") == 0
    (region,) = read_regions(tmp_path / "out", slide)
    truth = shapely.box(104, 200, 504, 600)
    assert (region.name, region.metadata) == ("Tissue", {"slide": "one.tif"})
    assert region.geometry.covers(truth)
    assert truth.buffer(1.5 * TISSUE_MPP, join_style="mitre").covers(region.geometry)
    picture = np.asarray(Image.open(tmp_path / "out" / "one.png").convert("RGB")).astype(int)
    green = picture[..., 1] - picture[..., 0] > 60
    assert green[400, 90:120].any()
    assert not green[350:450, 200:400].any()


def test_what_is_there_is_kept_unless_forced_since_somebody_may_have_edited_it(slide, tmp_path, command, capsys):
    out = tmp_path / "out"
    edited = QuPathObject(shapely.box(10, 10, 20, 20), name="mine")
    write_qupath(out / "one.geojson", [edited])
    assert command("slides", "tissue", slide, "--out", out) == 0
    assert "kept" in capsys.readouterr().out
    assert read_qupath(out / "one.geojson") == [edited]
    assert command("slides", "tissue", slide, "--out", out, "--force") == 0
    assert read_qupath(out / "one.geojson") != [edited]


def test_outlines_edited_under_its_own_name_are_found_and_two_files_are_refused(slide, tmp_path, command):
    out = tmp_path / "out"
    write_qupath(out / "one.tif.geojson.gz", [QuPathObject(shapely.box(10, 10, 20, 20))])
    assert read_regions(out, slide)[0].geometry.area == 100
    assert command("slides", "tissue", slide, "--out", out, "--force") == 0
    with pytest.raises(DataError, match=r"one\.geojson and one\.tif\.geojson\.gz both belong"):
        read_regions(out, slide)


def test_a_folder_is_done_slide_by_slide_and_says_what_failed(slide, tmp_path, command, capsys):
    write_slide(slide.parent / "glass.tif", tissue=None)
    write_slide(slide.parent / "unknown.tif", mpp=None)
    (slide.parent / "broken.svs").write_text("text")
    assert command("slides", "tissue", slide.parent, "--out", tmp_path / "out", "--json") == 3
    content = json.loads(capsys.readouterr().out)
    assert content["found"]["one"]["pieces"] == 1
    area_mm2 = content["found"]["one"]["area_mm2"]
    assert 0.4**2 - 1e-9 <= area_mm2 <= (0.4 + 3 * TISSUE_MPP / 1000) ** 2
    assert content["found"]["one"]["share"] == pytest.approx(area_mm2 / 0.8**2)
    assert content["found"]["glass"]["pieces"] == 0
    assert sorted(Path(file).name for file in content["failed"]) == ["broken.svs", "unknown.tif"]
    with pytest.raises(DataError, match=r"glass\.geojson: no region in it"):
        read_regions(tmp_path / "out", slide.parent / "glass.tif")


def test_coordinates_are_counted_from_where_a_viewer_begins_to_show_the_slide(slide, tmp_path, command, monkeypatch):
    plain, cut = tmp_path / "plain", tmp_path / "cut"
    assert command("slides", "tissue", slide, "--out", plain) == 0
    opened = readers.open_image

    def with_margin(*arguments, **named):
        reader = opened(*arguments, **named)
        reader.properties = {**reader.properties, "openslide.bounds-x": "30", "openslide.bounds-y": "50"}
        return reader

    monkeypatch.setattr(readers, "open_image", with_margin)
    assert command("slides", "tissue", slide, "--out", cut) == 0
    (here,), (there,) = read_qupath(plain / "one.geojson"), read_qupath(cut / "one.geojson")
    assert np.subtract(here.geometry.bounds, there.geometry.bounds).tolist() == [30, 50, 30, 50]
    assert read_regions(cut, slide)[0].geometry.equals(here.geometry)


def test_a_table_gives_the_resolution_of_slides_that_do_not_say(slide, tmp_path, command, capsys):
    bare = write_slide(slide.parent / "bare.tif", mpp=None)
    (tmp_path / "slides.csv").write_text("path,mpp\nslides/one.tif,\nslides/bare.tif,0.5\n")
    assert command("slides", "tissue", tmp_path / "slides.csv", "--out", tmp_path / "out", "--json") == 0
    found = json.loads(capsys.readouterr().out)["found"]
    assert 0.2**2 - 1e-9 <= found["bare"]["area_mm2"] <= (0.2 + 3 * TISSUE_MPP / 1000) ** 2
    assert read_regions(tmp_path / "out", bare)


def test_where_every_slide_failed_there_is_no_table_and_each_path_once(slide, tmp_path, command, capsys):
    bare = [write_slide(tmp_path / "bare" / name, mpp=None) for name in ("a.tif", "b.tif")]
    assert command("slides", "tissue", *bare, "--out", tmp_path / "out") == 3
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" does not say")[0] for line in lines] == [f"failed: {path}" for path in bare]
    assert [line.count(str(path)) for line, path in zip(lines, bare, strict=True)] == [1, 1]


def test_regions_of_one_slide_are_not_taken_for_another(slide, tmp_path, command, capsys):
    write_qupath(tmp_path / "regions" / "one.geojson", [QuPathObject(shapely.box(110, 210, 490, 590))])
    twin = write_slide(tmp_path / "other" / "one.tif")
    other = write_slide(tmp_path / "two.tif")
    for line in (("predict", tmp_path / "run"), ("patches",)):
        region = tmp_path / "regions" / "one.geojson"
        assert command(*line, slide, other, "--out", tmp_path / "out", "--region", region) == 2
        assert "is one file, drawn on one slide, but 2 inputs are named; give a folder" in capsys.readouterr().err
    assert command("predict", "run", slide, twin, "--out", tmp_path / "out", "--region", tmp_path / "regions") == 2
    assert f"one.geojson would serve both {slide} and {twin}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_regions_of_another_slide_are_refused(slide, tmp_path):
    write_qupath(tmp_path / "a.geojson", [QuPathObject(shapely.box(10, 10, 90, 90))] * 2)
    assert len(read_regions(tmp_path / "a.geojson", slide)) == 2
    write_qupath(tmp_path / "b.geojson", [QuPathObject(shapely.box(700, 700, 1700, 1700))])
    with pytest.raises(DataError, match=r"b\.geojson: region 1 .* mostly outside one\.tif of 800 x 800 px"):
        read_regions(tmp_path / "b.geojson", slide)


def test_missing_regions_name_the_way_out(slide, tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        read_regions(tmp_path / "nothing", slide)
    with pytest.raises(DataError, match=r"no one\.geojson in this folder; .* make it with histoproto slides tissue"):
        read_regions(slide.parent, slide)


def test_bad_inputs_end_in_one_sentence(slide, tmp_path, command, capsys):
    (tmp_path / "empty").mkdir()
    for inputs, sentence in [
        ([tmp_path / "absent.svs"], "no such file or folder"),
        ([tmp_path / "empty"], "no slides in this folder"),
        ([slide, write_slide(tmp_path / "other" / "one.tif")], "both called one"),
        ([write_slide(tmp_path / "unknown.tif", mpp=None)], "--assume-mpp"),
    ]:
        assert command("slides", "tissue", *inputs, "--out", tmp_path / "out") == 2
        error = capsys.readouterr().err
        assert error.startswith("DataError: ")
        assert sentence in error
        assert error.count("\n") == 1
