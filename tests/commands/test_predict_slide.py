"""What ``histoproto predict`` writes for a slide, and that it all says the same."""

import gzip
import json

import geopandas
import numpy as np
import ome_types
import pandas as pd
import pytest
import shapely
import tifffile
from PIL import Image
from rasterio.features import rasterize

from histoproto.formats.overlay import OUTLINE_COLOUR
from histoproto.formats.qupath import read_qupath
from histoproto.inference.slide import SlidePrediction
from histoproto.slides.samples import SAMPLE_PX

BACKGROUND = 4
MPP = 0.5


@pytest.fixture(scope="module")
def predicted(command, trained, slide, tmp_path_factory):
    out = tmp_path_factory.mktemp("predicted")
    assert command("predict", trained, slide, "--out", out) == 0
    return out / "slide"


@pytest.fixture(scope="module")
def labels(predicted):
    return tifffile.imread(predicted / "labels.ome.tif")


def write_slide(path, rgb, mpp=MPP, **options):
    tile = {"tile": (64, 64)} | options
    tifffile.imwrite(path, rgb, photometric="rgb", resolution=(1e4 / mpp, 1e4 / mpp), resolutionunit=3, **tile)


def test_all_outputs_are_there_and_nothing_else(predicted):
    names = {entry.name for entry in predicted.iterdir() if not entry.name.startswith(".")}
    assert names == {
        "labels.ome.tif",
        "probabilities.ome.tif",
        "regions.geojson.gz",
        "regions.parquet",
        "overlay.png",
        "areas.csv",
        "areas.json",
        "state.json",
    }
    assert not (predicted / ".maps").exists()


def test_maps_have_the_slide_s_physical_size(predicted, labels):
    assert labels.shape == (256, 320)
    described = ome_types.from_tiff(predicted / "labels.ome.tif").images[0].pixels
    assert described.physical_size_x == pytest.approx(MPP)
    coarse = ome_types.from_tiff(predicted / "probabilities.ome.tif").images[0].pixels
    assert coarse.physical_size_x == pytest.approx(MPP * SAMPLE_PX)
    assert [channel.name for channel in coarse.channels][:1] == ["Tumour"]


def test_the_likeliest_class_is_the_label(predicted, labels):
    shares = tifffile.imread(predicted / "probabilities.ome.tif")
    sampled = labels[::SAMPLE_PX, ::SAMPLE_PX]
    sure = (sampled < BACKGROUND) & (np.sort(shares, axis=0)[-1] > np.sort(shares, axis=0)[-2] + 1)
    assert sure.sum() > 1000
    assert (shares.argmax(0)[sure] == sampled[sure]).all()


def test_areas_count_the_labels(predicted, labels):
    table = pd.read_csv(predicted / "areas.csv").set_index("class")
    counts = np.bincount(labels.ravel(), minlength=5)
    assert table["pixels"].tolist() == counts[:BACKGROUND].tolist()
    assert table["area_mm2"].tolist() == pytest.approx((counts[:BACKGROUND] * (MPP / 1000) ** 2).tolist())


def test_outlines_lie_where_the_labels_are(predicted, labels):
    with gzip.open(predicted / "regions.geojson.gz") as handle:
        assert json.load(handle)["type"] == "FeatureCollection"
    drawn = read_qupath(predicted / "regions.geojson.gz")
    titles = ["Tumour", "Stroma", "Lymphocytic infiltrate", "Necrosis"]
    shapes = [(entry.geometry, titles.index(entry.name)) for entry in drawn]
    again = rasterize(shapes, labels.shape, fill=BACKGROUND)
    assert (again != labels).mean() < 0.05  # small regions have no outline, others smoother ones
    table = geopandas.read_parquet(predicted / "regions.parquet")
    assert len(table) == len(drawn)
    assert table["area_mm2"].sum() == pytest.approx(sum(entry.measurements["Area mm^2"] for entry in drawn))


def test_a_region_restricts_the_prediction_and_has_its_own_areas(command, trained, slide, labels, tmp_path):
    box = shapely.box(100, 60, 260, 200)
    region = tmp_path / "drawn.geojson"
    drawn = {"type": "Feature", "geometry": shapely.geometry.mapping(box), "properties": {"name": "biopsy"}}
    region.write_text(json.dumps({"type": "FeatureCollection", "features": [drawn, drawn]}))
    assert command("predict", trained, slide, "--out", tmp_path / "out", "--region", region) == 0
    found = tifffile.imread(tmp_path / "out" / "slide" / "labels.ome.tif")
    inside = rasterize([(box, 1)], labels.shape).astype(bool)
    assert (found[~inside] == BACKGROUND).all()
    assert (found[inside] == labels[inside]).mean() > 0.999
    table = pd.read_csv(tmp_path / "out" / "slide" / "areas.csv")
    assert table["region"].unique().tolist() == ["slide", "biopsy", "biopsy (2)"]
    assert table.groupby("region")["pixels"].sum().nunique() == 1
    notes = json.loads((tmp_path / "out" / "slide" / "areas.json").read_text())["notes"]
    assert notes == ["predicted inside the 2 outlines of --region alone: areas are of the tissue there"]
    overlay = np.asarray(Image.open(tmp_path / "out" / "slide" / "overlay.png"))
    factor = overlay.shape[1] / labels.shape[1]
    assert (overlay[int(60 * factor), int(200 * factor) : int(250 * factor)] == OUTLINE_COLOUR).all()


def test_a_region_of_a_slide_whose_width_is_no_multiple_of_the_scale_stays_in_its_place(command, trained, tmp_path):
    rgb = np.random.default_rng(0).integers(-20, 20, (1201, 63, 3)) + np.array([180, 110, 160])
    write_slide(tmp_path / "tall.tif", rgb.astype(np.uint8), mpp=MPP / 2)
    drawn = shapely.geometry.mapping(shapely.box(0, 900, 63, 1100))
    (tmp_path / "drawn.geojson").write_text(json.dumps({"type": "Feature", "geometry": drawn, "properties": {}}))
    options = ("--region", tmp_path / "drawn.geojson", "--out", tmp_path / "out")
    assert command("predict", trained, tmp_path / "tall.tif", *options) == 0
    rows = np.flatnonzero((tifffile.imread(tmp_path / "out" / "tall" / "labels.ome.tif") != BACKGROUND).any(1))
    assert rows.min() >= 450
    assert rows.max() < 550
    assert len(rows) > 95
    regions = read_qupath(tmp_path / "out" / "tall" / "regions.geojson.gz")
    assert max(entry.geometry.bounds[3] for entry in regions) == pytest.approx(1100, abs=2)


def test_a_changed_region_is_predicted_anew(command, trained, slide, tmp_path):
    region, table = tmp_path / "slide.geojson", tmp_path / "out" / "slide" / "areas.csv"
    for right in (150, 250):
        drawn = shapely.geometry.mapping(shapely.box(100, 60, right, 200))
        region.write_text(json.dumps({"type": "Feature", "geometry": drawn, "properties": {}}))
        assert command("predict", trained, slide, "--out", tmp_path / "out", "--region", tmp_path) == 0
        pixels = pd.read_csv(table).groupby("region")["pixels"].sum()["slide"]
        assert (right - 100) * 100 < pixels <= (right - 100) * 140


def test_a_slide_without_tissue_gives_empty_outputs_and_says_so(command, trained, tmp_path, capsys):
    write_slide(tmp_path / "glass.tif", np.full((300, 400, 3), 242, np.uint8))
    assert command("predict", trained, tmp_path / "glass.tif", "--out", tmp_path / "out") == 0
    folder = tmp_path / "out" / "glass"
    assert (tifffile.imread(folder / "labels.ome.tif") == BACKGROUND).all()
    assert read_qupath(folder / "regions.geojson.gz") == []
    assert len(geopandas.read_parquet(folder / "regions.parquet")) == 0
    assert pd.read_csv(folder / "areas.csv")["pixels"].sum() == 0
    assert (folder / "overlay.png").is_file()
    assert "shows no tissue" in capsys.readouterr().out


def test_a_slide_coarser_than_the_training_patches_is_enlarged_and_says_so(command, trained, slide, tmp_path, capsys):
    write_slide(tmp_path / "coarse.tif", tifffile.imread(slide)[:256, :256], mpp=1.0)
    assert command("predict", trained, tmp_path / "coarse.tif", "--out", tmp_path / "out") == 0
    assert tifffile.imread(tmp_path / "out" / "coarse" / "labels.ome.tif").shape[0] == 512
    assert "has 1 microns per pixel and was enlarged to 0.5" in " ".join(capsys.readouterr().out.split())


def test_a_damaged_tile_is_left_undecided_and_listed(command, trained, slide, tmp_path, capsys):
    path = tmp_path / "damaged.tif"
    write_slide(path, tifffile.imread(slide), compression="jpeg")
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        across = -(-page.imagewidth // 64)
        offset, length = page.dataoffsets[across + 2], page.databytecounts[across + 2]
    content = bytearray(path.read_bytes())
    content[offset : offset + length] = b"\0" * length
    path.write_bytes(content)
    assert command("predict", trained, path, "--out", tmp_path / "out") == 0
    found = tifffile.imread(tmp_path / "out" / "damaged" / "labels.ome.tif")
    assert (found[64:128, 128:192] == 255).all()
    assert (found == 255).mean() < 0.3
    table = pd.read_csv(tmp_path / "out" / "damaged" / "areas.csv").set_index("class")
    assert table.loc["undecided", "pixels"] == (found == 255).sum()
    listed = json.loads((tmp_path / "out" / "damaged" / "areas.json").read_text())["unreadable"]
    assert listed
    assert "cannot be read" in capsys.readouterr().out


def test_a_disk_that_fills_up_leaves_nothing_that_looks_finished(command, trained, slide, tmp_path, monkeypatch):
    def fills_up(_prediction, _on_tiles):
        raise OSError(28, "No space left on device")
        yield

    monkeypatch.setattr(SlidePrediction, "blocks", fills_up)
    assert command("predict", trained, slide, "--out", tmp_path / "out") == 2
    names = {entry.name for entry in (tmp_path / "out" / "slide").iterdir() if not entry.name.startswith(".")}
    assert names == {"state.json"}
    assert json.loads((tmp_path / "out" / "slide" / "state.json").read_text())["state"] == "failed"
    assert not (tmp_path / "out" / "slide" / ".maps").exists()


def test_a_region_for_a_picture_is_refused(command, trained, study, tmp_path, capsys):
    region = tmp_path / "drawn.geojson"
    region.write_text("{}")
    picture = next(study.parent.parent.rglob("*.png"))
    assert command("predict", trained, picture, "--out", tmp_path / "out", "--region", region) == 2
    assert "a picture is predicted whole" in capsys.readouterr().err
