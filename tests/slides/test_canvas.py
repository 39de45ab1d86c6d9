import numpy as np
import pytest

from histoproto.slides.canvas import canvas
from histoproto.slides.samples import samples

CLASSES = 3


def blocks(truth, heights):
    """Yield a map in bands of these heights, in three parts beside each other, as ``Canvas.write`` takes them."""
    labels, confidence, probabilities = truth
    y = 0
    for height in heights:
        for left, right in ((0, 37), (37, 150), (150, labels.shape[1])):
            place = slice(y, y + height), slice(left, right)
            kept = np.ix_(samples(y, height), samples(left, right - left))
            yield y, left, labels[place], confidence[place], probabilities[:, kept[0], kept[1]]
        y += height


@pytest.fixture
def truth():
    numbers = np.random.default_rng(0)
    return numbers.integers(0, CLASSES, (301, 203), np.uint8), *(
        numbers.integers(0, 255, shape, np.uint8) for shape in ((301, 203), (CLASSES, 301, 203))
    )


def test_blocks_of_any_height_written_behind_give_the_whole_map(tmp_path, truth):
    with canvas(tmp_path / "maps", 301, 203, CLASSES) as maps:
        maps.write_all(blocks(truth, (1, 128, 2, 128, 42)))
        assert (maps.labels[:] == truth[0]).all()
        assert (maps.confidence[:] == truth[1]).all()
        assert (maps.probabilities[:] == truth[2][:, ::4, ::4]).all()
    assert not (tmp_path / "maps").exists()


def test_what_is_never_written_is_background_without_probability(tmp_path):
    with canvas(tmp_path / "maps", 301, 203, CLASSES) as maps:
        maps.write_all([])
        assert (maps.labels[:] == CLASSES).all()
        assert not maps.confidence[:].any()
        assert not maps.probabilities[:].any()


def test_a_block_that_cannot_be_written_stops_the_blocks_behind_it(tmp_path, truth, monkeypatch):
    taken = []

    def counted():
        for number, block in enumerate(blocks(truth, (100, 100, 101))):
            taken.append(number)
            yield block

    with canvas(tmp_path / "maps", 301, 203, CLASSES) as maps:

        def full(*block):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(maps, "write", full)
        with pytest.raises(OSError, match="No space left"):
            maps.write_all(counted())
    assert taken == [0, 1]
