import json
import shutil

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image
from scipy.ndimage import gaussian_filter

from histoproto.contracts import Region
from histoproto.data.manifest import read_study
from histoproto.data.phantom import write_slide
from histoproto.formats.qupath import QuPathObject, write_qupath
from histoproto.slides import sharpness
from histoproto.slides.reader import open_image
from histoproto.slides.resample import at_mpp

shapely = pytest.importorskip("shapely")
pytest.importorskip("rasterio")

CUT = ("--mpp", 1, "--size-px", 64)
CLASSES = ("--classes", "TUM,STR,LYM,NEC")


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    """Three slides of 0.5 microns per pixel; a mask of four classes lies beside each."""
    folder = tmp_path_factory.mktemp("slides")
    for number in range(3):
        write_slide(folder / f"s{number}.tif", width_px=768, height_px=768, seed=number)
    return folder


def table_of(study, **named):
    return pd.read_csv(study / "labels.csv", dtype=str, keep_default_na=False, **named)


def files_of(study):
    return {file.relative_to(study): file.read_bytes() for file in study.rglob("*") if file.is_file()}


def test_a_patch_shows_the_slide_at_the_place_that_its_row_names(slides, tmp_path, command):
    assert command("patches", slides / "s0.tif", "--out", tmp_path, *CUT, *CLASSES) == 0
    table = table_of(tmp_path)
    assert list(table.columns[:6]) == ["path", "TUM", "STR", "LYM", "NEC", "group"]
    assert len(table) > 8
    reader = at_mpp(open_image(slides / "s0.tif"), 1.0)
    for row in table.itertuples():
        x, y = int(row.x_px), int(row.y_px)
        expected = reader.read(Region(x // 2, y // 2, 64, 64))
        assert np.array_equal(np.asarray(Image.open(tmp_path / row.path)), expected)
        assert (row.group, row.mpp, row.slide, row.TUM) == ("s0", "1", "s0.tif", "")
        assert float(row.tissue_share) >= 0.5
        assert float(row.sharpness) == pytest.approx(sharpness.sharpness(expected), abs=0.001)
    reader.close()


def test_a_table_names_slides_and_the_resolution_of_those_that_do_not_say(slides, tmp_path, command):
    tifffile.imwrite(tmp_path / "bare.tif", tifffile.imread(slides / "s0.tif"), photometric="rgb", tile=(64, 64))
    (tmp_path / "slides.csv").write_text(f"path,mpp\n{slides / 's1.tif'},\nbare.tif,0.25\n")
    study = tmp_path / "study"
    assert command("patches", tmp_path / "slides.csv", "--out", study, *CUT, "--per-slide", 2, *CLASSES) == 0
    made_of = {
        name: json.loads((study / "patches" / name / "slide.json").read_text())["made_of"] for name in ("s1", "bare")
    }
    assert [made_of["s1"]["assume_mpp"], made_of["bare"]["assume_mpp"]] == [None, 0.25]


def tick(study, slides):
    """Fill in the table as somebody would who knows the slides' masks: 1 where a class covers a tenth."""
    table = table_of(study)
    masks = {slide: np.asarray(Image.open(slides / f"{slide[:-4]}.mask.png")) for slide in set(table["slide"])}
    for place, row in table.iterrows():
        x, y = int(row["x_px"]), int(row["y_px"])
        shown = masks[row["slide"]][y : y + 128, x : x + 128]
        for value, name in enumerate(("TUM", "STR", "LYM", "NEC")):
            table.loc[place, name] = str(int((shown == value).mean() > 0.1))
    table.to_csv(study / "labels.csv", index=False)
    return table


def test_the_road_from_slides_to_a_trained_model(slides, tmp_path, command, capsys):
    study = tmp_path / "study"
    assert command("patches", slides, "--out", study, *CUT, *CLASSES) == 0
    imported = ("data", "import", "folder", study, "--out", study, "--taxonomy", study / "taxonomy.json")
    assert f"histoproto {' '.join(map(str, imported))}" in capsys.readouterr().out
    assert command(*imported) == 2
    assert "training patch without labels" in capsys.readouterr().err
    table = tick(study, slides)
    assert command(*imported, "--val-fraction", 0.34) == 0
    known = read_study(study)
    assert sum(known.splits.values()) == len(table)
    assert set(known.table["group"]) == {"s0", "s1", "s2"}
    assert set(known.table["mpp"]) == {1.0}
    assert command("data", "check", study) == 0
    assert command("train", "cam", study, "--run", tmp_path / "run", "--epochs", 1, "--batch", 8) == 0


def test_a_limit_takes_patches_evenly_and_the_same_ones_for_the_same_seed(slides, tmp_path, command):
    for study, seed in (("a", 1), ("b", 1), ("c", 2)):
        arguments = ("--out", tmp_path / study, *CUT, "--per-slide", 5, "--seed", seed)
        assert command("patches", slides / "s0.tif", slides / "s1.tif", *arguments) == 0
    first, again, other = (table_of(tmp_path / study) for study in "abc")
    assert first.equals(again)
    assert not first.equals(other)
    assert first["slide"].value_counts().to_dict() == {"s0.tif": 5, "s1.tif": 5}


def test_a_killed_command_leaves_nothing_that_looks_finished_and_goes_on(slides, tmp_path, command, monkeypatch):
    assert command("patches", slides, "--out", tmp_path / "whole", *CUT) == 0
    measure, calls = sharpness.sharpness, []

    def killed(rgb):
        calls.append(1)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return measure(rgb)

    with monkeypatch.context() as patched:
        patched.setattr(sharpness, "sharpness", killed)
        assert command("patches", slides, "--out", tmp_path / "killed", *CUT) == 130
    assert not (tmp_path / "killed" / "labels.csv").exists()
    assert len(list((tmp_path / "killed" / "patches").iterdir())) < 3
    assert command("patches", slides, "--out", tmp_path / "killed", *CUT) == 0
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")


@pytest.mark.parametrize("separator", [",", ";"])
def test_what_somebody_has_filled_in_or_deleted_stays_when_slides_are_added(slides, tmp_path, command, separator):
    assert command("patches", slides / "s0.tif", "--out", tmp_path, *CUT, "--classes", "TUM,STR") == 0
    mine = table_of(tmp_path).iloc[2:].assign(TUM="1", STR="0", remark="µ, seen")
    mine.to_csv(tmp_path / "labels.csv", index=False, sep=separator, encoding="utf-8-sig")
    before = (tmp_path / "labels.csv").read_bytes()
    assert command("patches", slides / "s0.tif", "--out", tmp_path, *CUT) == 0
    assert (tmp_path / "labels.csv").read_bytes() == before
    assert command("patches", slides, "--out", tmp_path, *CUT) == 0
    table = table_of(tmp_path, sep=separator)
    assert table.iloc[: len(mine)].equals(mine.reset_index(drop=True))
    assert set(table["slide"].iloc[len(mine) :]) == {"s1.tif", "s2.tif"}
    assert set(table["TUM"].iloc[len(mine) :]) == {""}


def write_like(path, rgb):
    resolution = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, rgb, photometric="rgb", tile=(256, 256), **resolution)


def test_blurred_places_and_pen_marks_are_left_out(slides, tmp_path, command, capsys):
    reader = open_image(slides / "s0.tif")
    rgb = reader.read(Region(0, 0, 768, 768))
    reader.close()
    (tmp_path / "in").mkdir()
    smooth = np.rint(gaussian_filter(rgb.astype(float), (4, 4, 0))).astype(np.uint8)
    write_like(tmp_path / "in" / "half.tif", np.concatenate([rgb[:, :384], smooth[:, 384:]], 1))
    marked = rgb.copy()
    marked[384:] = (0.3 * rgb[384:] + 0.7 * np.array([30, 90, 170])).astype(np.uint8)
    write_like(tmp_path / "in" / "marked.tif", marked)
    assert command("patches", tmp_path / "in", "--out", tmp_path / "out", *CUT, "--json") == 0
    found = json.loads(capsys.readouterr().out)["found"]
    assert found["half"]["blurred"] >= 5
    table = table_of(tmp_path / "out")
    places = table[["x_px", "y_px"]].astype(int)
    assert places["x_px"][table["slide"] == "half.tif"].max() < 384
    assert places["y_px"][table["slide"] == "marked.tif"].max() < 384
    assert (table["slide"] == "marked.tif").sum() > 3


def test_regions_restrict_and_outlines_of_tissue_replace_the_search_for_it(slides, tmp_path, command, capsys):
    right = shapely.box(384, 0, 768, 768)
    corner = shapely.box(0, 0, 128, 128)  # where the slide shows glass
    for name, entries in (
        ("drawn", [QuPathObject(right, name="Tumor"), QuPathObject(corner)]),
        ("trusted", [QuPathObject(right, name="Tissue"), QuPathObject(corner)]),
    ):
        write_qupath(tmp_path / name / "s0.geojson", entries)
        arguments = ("--out", tmp_path / f"{name}-out", *CUT, "--region", tmp_path / name, "--json")
        assert command("patches", slides / "s0.tif", *arguments) == 0
        places = json.loads(capsys.readouterr().out)["found"]["s0"]["places"]
        assert table_of(tmp_path / f"{name}-out")["x_px"].astype(int).min() >= 384 or name == "trusted"
        assert places == 19 if name == "trusted" else places < 19
    code = command("patches", slides / "s1.tif", "--out", tmp_path / "x", *CUT, "--region", tmp_path / "drawn")
    assert code == 2
    assert "no s1.geojson in this folder" in capsys.readouterr().err


def test_slides_that_fail_are_listed_and_the_others_done(slides, tmp_path, command, capsys):
    shutil.copy(slides / "s0.tif", tmp_path / "s0.tif")
    (tmp_path / "text.svs").write_text("text")
    assert command("patches", tmp_path, "--out", tmp_path / "out", *CUT, "--per-slide", 2) == 3
    assert "text.svs: not an image" in capsys.readouterr().out
    assert len(table_of(tmp_path / "out")) == 2


def test_bad_requests_end_in_one_sentence(slides, tmp_path, command, capsys):
    study = tmp_path / "study"
    assert command("patches", slides / "s0.tif", "--out", study, *CUT, "--per-slide", 3) == 0
    capsys.readouterr()
    for arguments, sentence in [
        (("--mpp", 0.25), "DataError: {slide} has 0.5 microns per pixel; patches at 0.25 would only be enlarged"),
        (("--mpp", 0), "ConfigError: --mpp 0"),
        (("--size-px", 8), "ConfigError: --size-px 8"),
        (("--per-slide", 0), "ConfigError: --per-slide 0"),
        (("--tissue", 1.5), "ConfigError: --tissue 1.5"),
        (("--classes", "TUM,slide"), "ConfigError: a class cannot be called slide"),
        (("--classes", "A", "--taxonomy", "t.json"), "ConfigError: give the classes with --classes or"),
        (("--out", study), "DataError: {study} holds patches of 64 px at 1 microns per pixel"),
        (("--out", study, *CUT, "--per-slide", 4), "DataError: {study}/patches/s0 holds patches that were cut differ"),
    ]:
        new = () if "--out" in arguments else ("--out", tmp_path / "new")
        assert command("patches", slides / "s0.tif", *new, *arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith(sentence.format(slide=slides / "s0.tif", study=study))
        assert error.count("\n") == 1
