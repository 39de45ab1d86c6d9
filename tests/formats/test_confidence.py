import numpy as np
import pytest
from PIL import Image

from histoproto.formats.confidence import write_confidence


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_confidence_becomes_grey(tmp_path, kind):
    write_confidence(tmp_path / "confidence.png", np.array([[0, 0.5, 1]], kind))
    with Image.open(tmp_path / "confidence.png") as image:
        assert image.mode == "L"
        assert np.asarray(image).tolist() == [[0, 128, 255]]


@pytest.mark.parametrize("value", [-0.01, 1.01, np.nan])
def test_a_value_that_would_wrap_round_is_refused_and_nothing_is_written(tmp_path, value):
    with pytest.raises(ValueError, match=r"not in 0\.\.1"):
        write_confidence(tmp_path / "confidence.png", np.array([[0.5, value]], np.float32))
    assert list(tmp_path.iterdir()) == []
