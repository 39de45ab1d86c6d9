from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from histoproto.data.manifest import PatchRecord
from histoproto.data.patches import PatchDataset, collate
from histoproto.errors import DataError, LabelError
from tests.data.miniature import pixels, write_patch


def record(path, seed, size_px=16):
    write_patch(path, seed, size_px)
    return PatchRecord(path, (1, 0, 1), None, "g", 0.5, path.name, size_px, size_px)


def test_a_patch_is_its_pixels_and_labels(tmp_path):
    patch = PatchDataset([record(tmp_path / "a.png", 0), record(tmp_path / "b.png", 1)])[1]
    assert patch.image.dtype == torch.uint8
    assert np.array_equal(patch.image.numpy(), pixels(1).transpose(2, 0, 1))
    assert patch.labels.tolist() == [1.0, 0.0, 1.0]
    assert (patch.name, patch.index) == ("b.png", 1)


def test_batches_keep_names_and_places_together(tmp_path):
    records = [record(tmp_path / f"{number}.png", number) for number in range(5)]
    batches = list(DataLoader(PatchDataset(records), batch_size=2, collate_fn=collate))
    assert [batch.names for batch in batches] == [["0.png", "1.png"], ["2.png", "3.png"], ["4.png"]]
    assert batches[1].indices.tolist() == [2, 3]
    assert batches[0].images.shape == (2, 3, 16, 16)
    assert batches[0].labels.shape == (2, 3)


def test_patches_of_several_sizes_need_one_to_be_named(tmp_path):
    records = [record(tmp_path / "a.png", 0, 16), record(tmp_path / "b.png", 1, 20)]
    with pytest.raises(DataError, match=r"b.png: 20 x 20 px, but a.png is 16 x 16 px; .*--patch-px"):
        PatchDataset(records)
    images = collate(list(PatchDataset(records, size_px=8))).images
    assert images.shape == (2, 3, 8, 8)


def test_halving_a_patch_averages_instead_of_dropping_pixels(tmp_path):
    small = PatchDataset([record(tmp_path / "a.png", 0, 64)], size_px=8)[0].image.float()
    assert small.std() < 0.3 * pixels(0, 64).std()


def test_a_file_that_changed_its_size_is_named(tmp_path):
    records = [record(tmp_path / "a.png", 0), record(tmp_path / "b.png", 1)]
    write_patch(tmp_path / "b.png", 1, 20)
    with pytest.raises(DataError, match=r"b.png: another size than a.png"):
        collate(list(PatchDataset(records)))


def test_patches_without_labels_cannot_train(tmp_path):
    records = [replace(record(tmp_path / f"{number}.png", number), labels=None) for number in range(3)]
    with pytest.raises(LabelError, match=r"0.png: no image-level labels, nor have 2 other patches"):
        PatchDataset(records)
