import numpy as np
import pandas as pd
import pytest
from PIL import Image

from histoproto.data.manifest import PatchRecord
from histoproto.data.patches import PatchDataset
from histoproto.data.pseudo_masks import (
    MaskedPatchDataset,
    MaskFiles,
    collate_masked,
    find_thresholds,
    read_mask_files,
)
from histoproto.errors import ConfigError, DataError
from histoproto.formats.confidence import write_confidence
from histoproto.masks import write_mask
from histoproto.taxonomy import WSSS4LUAD as TAXONOMY

SIDE = 4


def patch(folder, name, mask, confidence):
    """Write a patch with its pseudo mask; return its record and files."""
    image = folder / f"{name}.png"
    Image.fromarray(np.full((SIDE, SIDE, 3), 90, np.uint8)).save(image)
    files = MaskFiles(folder / f"{name}-mask.png", folder / f"{name}-confidence.png")
    write_mask(files.mask, np.asarray(mask, np.uint8).reshape(SIDE, SIDE), TAXONOMY)
    write_confidence(files.confidence, np.asarray(confidence, np.float32).reshape(SIDE, SIDE) / 255)
    record = PatchRecord(image, (1, 1, 1), None, "a", 0.5, image.name, SIDE, SIDE)
    return record, files


@pytest.fixture
def two(tmp_path):
    """Tumour of confidence 10..80 and stroma of 100..135, background and unknown pixels; a second patch of normal."""
    tumour, stroma = list(range(10, 90, 10)), list(range(100, 120, 5))
    first = patch(tmp_path, "first", [0] * 8 + [1] * 4 + [3, 3, 255, 255], tumour + stroma + [0] * 4)
    second = patch(tmp_path, "second", [2] * 16, [200] * 16)
    return {first[0].path: first, second[0].path: second}


def dataset(two, thresholds, size_px=None):
    records = [record for record, _ in two.values()]
    files = {path: files for path, (_, files) in two.items()}
    return MaskedPatchDataset(PatchDataset(records, size_px), files, TAXONOMY, thresholds)


def thresholds_of(two, keep):
    records = [record for record, _ in two.values()]
    files = {path: files for path, (_, files) in two.items()}
    return find_thresholds(records, files, TAXONOMY, keep, lambda _count: None)


def test_each_class_keeps_its_own_most_confident_pixels(two):
    assert thresholds_of(two, 0.5).least == (50, 110, 200)
    assert thresholds_of(two, 0.5).shares == (0.5, 0.5, 1.0)
    mask = dataset(two, thresholds_of(two, 0.5).least)[0].mask.flatten().tolist()
    assert mask == [255] * 4 + [0] * 4 + [255] * 2 + [1] * 2 + [3, 3, 255, 255]


def test_all_pixels_stay_where_all_are_kept(two):
    mask = dataset(two, thresholds_of(two, 1.0).least)[0].mask.flatten().tolist()
    assert mask == [0] * 8 + [1] * 4 + [3, 3, 255, 255]


def test_a_class_in_no_mask_is_named(two, tmp_path):
    without = dict(list(two.items())[:1])
    with pytest.raises(DataError, match="no pseudo mask holds any normal"):
        thresholds_of(without, 1.0)


def test_masks_are_resized_without_mixing_classes(two):
    item = dataset(two, (0, 0, 0), size_px=8)[0]
    assert item.mask.shape == item.image.shape[-2:] == (8, 8)
    assert set(item.mask.unique().tolist()) == {0, 1, 3, 255}


def test_a_batch_holds_masks_beside_images(two):
    data = dataset(two, (0, 0, 0))
    batch = collate_masked([data[0], data[1]])
    assert batch.masks.shape == (2, SIDE, SIDE)
    assert batch.images.shape == (2, 3, SIDE, SIDE)
    assert batch.indices.tolist() == [0, 1]


def test_a_mask_of_another_size_is_refused(two):
    _record, files = next(iter(two.values()))
    write_mask(files.mask, np.zeros((3, 3), np.uint8), TAXONOMY)
    with pytest.raises(DataError, match="3 x 3 px, its confidence 4 x 4"):
        dataset(two, (0, 0, 0))[0]


def test_a_mask_of_another_taxonomy_is_refused(two):
    _, files = next(iter(two.values()))
    write_mask(files.mask, np.full((SIDE, SIDE), 7, np.uint8), TAXONOMY)
    with pytest.raises(DataError, match="mask value 7 is unknown"):
        thresholds_of(two, 1.0)


def test_patches_that_have_no_mask_are_named(two, tmp_path):
    records = [record for record, _ in two.values()]
    _, files = two[records[0].path]
    rows = [{"image": str(records[0].path), "mask": str(files.mask), "confidence": str(files.confidence)}]
    pd.DataFrame(rows).to_parquet(tmp_path / "manifest.parquet")
    with pytest.raises(DataError, match=r"has no mask of .*second.png"):
        read_mask_files(tmp_path, records)
    assert read_mask_files(tmp_path, records[:1]) == {records[0].path: files}


def test_a_folder_without_manifest_is_refused(tmp_path):
    with pytest.raises(DataError, match="no manifest of masks"):
        read_mask_files(tmp_path, [])


def test_a_share_of_less_than_a_pixel_is_refused_and_one_of_a_pixel_is_not(two):
    assert thresholds_of(two, 0.25).least == (70, 115, 200)  # one of four pixels of stroma
    with pytest.raises(ConfigError, match=r"keep 0\.2 leaves no pixel of stroma, of which the pseudo masks hold 4"):
        thresholds_of(two, 0.2)
