"""The phantom: exact, reproducible, laid out as BCSS-WSSS, and too hard for colour alone."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, uniform_filter
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import jaccard_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from histoproto.data.phantom import PhantomSummary, contact_sheet, render_tissue, write_patches, write_slide
from histoproto.data.phantom.layout import Layout
from histoproto.data.phantom.noise import Window
from histoproto.data.phantom.patient import Patient
from histoproto.data.phantom.tissue import render_window
from histoproto.errors import DataError

WHITE = 4
BLOCK_PX = 16


class Written(NamedTuple):
    """A small phantom on disk."""

    folder: Path
    summary: PhantomSummary
    progress: list[int]


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("phantom") / "patches"
    progress: list[int] = []
    summary = write_patches(folder, train=36, val=6, test=6, size_px=64, seed=3, on_progress=progress.append)
    return Written(folder, summary, progress)


def digits_of(path: Path) -> list[int]:
    return [int(digit) for digit in path.stem[path.stem.index("[") + 1 : -1]]


def patches_of(folder: Path, split: str) -> list[Path]:
    return sorted((folder / split if split == "training" else folder / split / "img").iterdir())


def pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.array(image)


def test_same_seed_gives_same_pixels() -> None:
    first, second = render_tissue(80, 120, 5), render_tissue(80, 120, 5)
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.mask, second.mask)


def test_another_seed_gives_other_pixels_and_another_arrangement() -> None:
    first, second = render_tissue(160, 160, 5), render_tissue(160, 160, 6)
    assert (first.image != second.image).mean() > 0.9
    assert (first.mask != second.mask).any()


def test_image_and_mask_have_the_asked_size_and_types() -> None:
    tissue = render_tissue(33, 70, 1)
    assert tissue.image.shape == (33, 70, 3)
    assert tissue.mask.shape == (33, 70)
    assert tissue.image.dtype == tissue.mask.dtype == np.uint8


@pytest.mark.parametrize("area", range(5))
def test_only_the_present_area_occurs(area: int) -> None:
    assert set(np.unique(render_tissue(64, 64, 2, present=[area]).mask)) == {area}


def test_all_five_areas_occur_in_a_large_field() -> None:
    assert set(np.unique(render_tissue(320, 320, 1, mpp=2.0).mask)) == {0, 1, 2, 3, 4}


def test_half_the_resolution_shows_the_same_arrangement() -> None:
    fine, coarse = render_tissue(256, 256, 4), render_tissue(128, 128, 4, mpp=1.0)
    assert (fine.mask[::2, ::2] == coarse.mask).mean() > 0.93


@pytest.mark.parametrize("present", [[], [5], [-1, 0]])
def test_unknown_areas_are_refused(present: list[int]) -> None:
    with pytest.raises(ValueError, match="name one or more of the areas 0 to 4"):
        render_tissue(32, 32, 0, present=present)


def test_windows_agree_where_they_overlap() -> None:
    patient, layout = Patient.draw(7), Layout(seed=7, region_um=60.0)
    whole = render_window(patient, layout, Window(0.0, 0.0, 160, 160, 0.5))
    part = render_window(patient, layout, Window(30.0, 20.0, 64, 96, 0.5))
    np.testing.assert_array_equal(whole.image[60:124, 40:136], part.image)
    np.testing.assert_array_equal(whole.mask[60:124, 40:136], part.mask)


def test_white_background_is_light_and_tissue_is_not() -> None:
    glass = render_tissue(64, 64, 2, present=[WHITE]).image
    tissue = render_tissue(64, 64, 2, present=[0, 1, 2, 3]).image
    assert glass.min() > 200
    assert tissue.mean() < 200


def test_every_split_has_its_number_of_patches(phantom: Written) -> None:
    assert {split: len(patches_of(phantom.folder, split)) for split in ("training", "val", "test")} == {
        "training": 36,
        "val": 6,
        "test": 6,
    }
    assert phantom.summary.patches == {"training": 36, "val": 6, "test": 6}
    assert phantom.progress == list(range(1, 49))


def test_every_image_has_a_mask_of_its_name_and_size(phantom: Written) -> None:
    for split in ("val", "test"):
        for path in patches_of(phantom.folder, split):
            with Image.open(path) as image, Image.open(path.parents[1] / "mask" / path.name) as mask:
                assert image.mode == "RGB"
                assert mask.mode == "P"
                assert image.size == mask.size == (64, 64)
                assert mask.getpalette()[:15] == [255, 0, 0, 0, 255, 0, 0, 0, 255, 153, 0, 255, 255, 255, 255]


def test_masks_hold_four_classes_and_white_only(phantom: Written) -> None:
    for split in ("val", "test"):
        for path in (phantom.folder / split / "mask").iterdir():
            assert set(np.unique(pixels(path))) <= {0, 1, 2, 3, WHITE}


def test_label_digits_say_which_class_covers_more_than_two_per_cent(phantom: Written) -> None:
    for split in ("val", "test"):
        for path in patches_of(phantom.folder, split):
            mask = pixels(path.parents[1] / "mask" / path.name)
            assert digits_of(path) == [int((mask == area).mean() > 0.02) for area in range(4)]


def test_no_patient_is_in_two_splits(phantom: Written) -> None:
    groups = {
        split: {path.name[:10] for path in patches_of(phantom.folder, split)} for split in ("training", "val", "test")
    }
    assert groups == {split: set(names) for split, names in phantom.summary.patients.items()}
    assert not groups["training"] & groups["val"]
    assert not groups["training"] & groups["test"]
    assert not groups["val"] & groups["test"]


def test_every_class_is_in_every_split_and_the_summary_counts_it(phantom: Written) -> None:
    for split in ("training", "val", "test"):
        totals = np.sum([digits_of(path) for path in patches_of(phantom.folder, split)], axis=0)
        assert (totals > 0).all()
        assert phantom.summary.labelled[split] == dict(zip(("TUM", "STR", "LYM", "NEC"), totals, strict=True))


@pytest.mark.parametrize("seed", range(3))
def test_four_patches_of_any_size_hold_every_class(tmp_path: Path, seed: int) -> None:
    summary = write_patches(tmp_path / "few", train=4, val=0, test=0, size_px=48, seed=seed)
    assert min(summary.labelled["training"].values()) > 0


def test_training_patches_are_single_tissues_and_mixtures_and_never_all_white(phantom: Written) -> None:
    classes = [sum(digits_of(path)) for path in patches_of(phantom.folder, "training")]
    assert min(classes) >= 1
    assert 0.2 < np.mean([count == 1 for count in classes]) < 0.5
    assert np.mean([count == 2 for count in classes]) > 0.25
    assert max(classes) >= 3


def test_same_arguments_write_the_same_files(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_patches(tmp_path / name, train=3, val=1, test=1, size_px=32, seed=9)
    first = sorted(path for path in (tmp_path / "first").rglob("*.png"))
    second = sorted(path for path in (tmp_path / "second").rglob("*.png"))
    assert [path.name for path in first] == [path.name for path in second]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(DataError, match="not an empty folder; name a new one or remove what it holds"):
        write_patches(tmp_path, train=1, val=1, test=1, size_px=32, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_sizes_and_numbers_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a size of 16 or more"):
        write_patches(tmp_path / "small", train=1, val=1, test=1, size_px=8, seed=0)
    with pytest.raises(DataError, match="numbers of 0 or more"):
        write_patches(tmp_path / "negative", train=-1, val=1, test=1, size_px=32, seed=0)


def test_a_writer_that_dies_half_way_leaves_no_patch_that_looks_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(image: Image.Image, target: Path, **options: object) -> None:
        Path(target).write_bytes(b"\x89PNG half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", dies)
    with pytest.raises(KeyboardInterrupt):
        write_patches(tmp_path / "out", train=2, val=1, test=1, size_px=32, seed=0)
    assert list((tmp_path / "out").rglob("*.png")) == []


def test_a_slide_that_dies_half_way_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("histoproto.data.phantom.slide.render_window", dies)
    with pytest.raises(KeyboardInterrupt):
        write_slide(tmp_path / "slide.tif", width_px=512, height_px=512, seed=0)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slide") / "slide.tif"
    write_slide(path, width_px=900, height_px=800, seed=1)
    return path


@contextmanager
def opened(path: Path) -> Iterator[object]:
    openslide = pytest.importorskip("openslide")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        handle = openslide.OpenSlide(path)
    yield handle
    handle.close()


def test_openslide_reads_pages_and_resolution(slide: Path) -> None:
    with opened(slide) as handle:
        assert handle.properties["openslide.vendor"] == "generic-tiff"
        assert handle.level_dimensions == ((900, 800), (450, 400))
        assert float(handle.properties["openslide.mpp-x"]) == pytest.approx(0.5)
        assert float(handle.properties["openslide.mpp-y"]) == pytest.approx(0.5)


def test_tifffile_reads_one_pyramid_with_a_resolution_per_page(slide: Path) -> None:
    with tifffile.TiffFile(slide) as tiff:
        assert [level.shape for level in tiff.series[0].levels] == [(800, 900, 3), (400, 450, 3)]
        for page, mpp in zip(tiff.pages, (0.5, 1.0), strict=True):
            pixels_per_cm = page.tags["XResolution"].value[0] / page.tags["XResolution"].value[1]
            assert 10_000 / pixels_per_cm == pytest.approx(mpp)
            assert page.is_tiled


def test_slide_has_a_mask_of_its_size_with_all_tissues_on_white_ground(slide: Path) -> None:
    mask = pixels(slide.with_name("slide.mask.png"))
    assert mask.shape == (800, 900)
    assert set(np.unique(mask)) == {0, 1, 2, 3, WHITE}
    assert (np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]) == WHITE).all()
    assert 0.3 < (mask == WHITE).mean() < 0.7


def test_a_small_slide_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too small; give 256 or more"):
        write_slide(tmp_path / "tiny.tif", width_px=100, height_px=300, seed=0)


def test_contact_sheet_is_the_same_picture_for_the_same_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("histoproto.data.phantom.sheet._TILE_PX", 24)
    sheet = contact_sheet(0)
    assert sheet.mode == "RGB"
    assert sheet.tobytes() == contact_sheet(0).tobytes()


class Blocks(NamedTuple):
    """Blocks of 16 pixels from one field per patient."""

    colours: NDArray[np.float64]
    textures: NDArray[np.float64]
    classes: NDArray[np.int64]


def texture_of(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How much structure of four sizes lies around each pixel, and whether it is dark or light; no colour."""
    grey = np.log1p(image[:, :, 0].astype(float))
    levels = [grey, *(gaussian_filter(grey, sigma) for sigma in (1, 2, 4, 8))]
    features = []
    for fine, coarse in pairwise(levels):
        band = (fine - coarse) / grey.std()
        power = uniform_filter(band**2, 48) + 1e-6
        features += [np.log(power), uniform_filter(band**3, 48) / power**1.5]
    return np.stack(features, axis=-1)


def blocks_of(seeds: range) -> Blocks:
    size_px, side = 144, 144 // BLOCK_PX
    colours, textures, classes = [], [], []
    for seed in seeds:
        tissue = render_tissue(size_px, size_px, seed)
        cells = tissue.image.reshape(side, BLOCK_PX, side, BLOCK_PX, 3)
        colours.append(cells.mean(axis=(1, 3)).reshape(-1, 3))
        textures.append(texture_of(tissue.image)[8::BLOCK_PX, 8::BLOCK_PX].reshape(side * side, -1))
        mask = tissue.mask.reshape(side, BLOCK_PX, side, BLOCK_PX).swapaxes(1, 2).reshape(side * side, -1)
        classes.append(np.stack([(mask == area).sum(axis=1) for area in range(5)], axis=1).argmax(axis=1))
    return Blocks(np.concatenate(colours), np.concatenate(textures), np.concatenate(classes))


@pytest.fixture(scope="module")
def known_patients() -> Blocks:
    return blocks_of(range(100, 124))


@pytest.fixture(scope="module")
def new_patients() -> Blocks:
    return blocks_of(range(200, 212))


def best_mean_iou(
    known: NDArray[np.float64], truth: NDArray[np.int64], new: NDArray[np.float64], asked: NDArray[np.int64]
) -> float:
    """Better one of a plain and a class-balanced logistic regression on new patients, white ignored."""
    scores = []
    for weights in (None, "balanced"):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500, class_weight=weights))
        predicted = model.fit(known, truth).predict(new)[asked != WHITE]
        scores.append(jaccard_score(asked[asked != WHITE], predicted, labels=range(4), average="macro"))
    return max(scores)


def test_colour_alone_does_not_tell_the_tissues_apart(known_patients: Blocks, new_patients: Blocks) -> None:
    # With pixel truth for training this is the best that mean colours can do; 0.27 when this was written.
    score = best_mean_iou(known_patients.colours, known_patients.classes, new_patients.colours, new_patients.classes)
    assert score < 0.60


def test_texture_without_colour_tells_the_tissues_apart(known_patients: Blocks, new_patients: Blocks) -> None:
    # Otherwise the test above would hold for noise, too.
    score = best_mean_iou(known_patients.textures, known_patients.classes, new_patients.textures, new_patients.classes)
    assert score > 0.60
