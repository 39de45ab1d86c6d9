import numpy as np
import pytest
from PIL import Image

from histoproto.data.manifest import PatchRecord
from histoproto.data.patches import PatchDataset
from histoproto.images import read_rgb


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "bmp"])
def test_files_are_read_as_red_green_blue(tmp_path, ending):
    eosin = np.full((16, 16, 3), (230, 120, 60), np.uint8)
    path = tmp_path / f"eosin.{ending}"
    Image.fromarray(eosin).save(path)
    assert np.abs(read_rgb(path).astype(int) - eosin).max() <= 3  # JPEG rounds


def test_training_patches_are_red_green_blue(tmp_path):
    path = tmp_path / "eosin.png"
    Image.fromarray(np.full((16, 16, 3), (230, 120, 60), np.uint8)).save(path)
    patches = PatchDataset([PatchRecord(path, (1, 0), None, "g", 0.5, path.name, 16, 16)])
    assert patches[0].image[:, 3, 5].tolist() == [230, 120, 60]
