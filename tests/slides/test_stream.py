import threading

import numpy as np
import pytest
import torch
from torch import nn

from histoproto.contracts import Region, SlideReader
from histoproto.errors import DataError
from histoproto.slides.blend import margin_px
from histoproto.slides.stream import map_tiles
from histoproto.slides.tiling import tile_grid


class ArrayReader(SlideReader):
    """An image in memory that remembers who read it and can have a damaged place."""

    def __init__(self, rgb, damaged_row=None):
        self.rgb, self.damaged_row, self.threads = rgb, damaged_row, set()
        self.height_px, self.width_px = rgb.shape[:2]
        self.mpp = None

    def read(self, region: Region):
        self.threads.add(threading.current_thread().name)
        rows = range(region.y_px, region.y_px + region.height_px)
        assert rows.stop <= self.height_px
        assert region.x_px + region.width_px <= self.width_px
        if self.damaged_row in rows:
            raise DataError(f"row {self.damaged_row} is damaged")
        return self.rgb[rows.start : rows.stop, region.x_px : region.x_px + region.width_px]

    def close(self):
        pass


def strided_network(stride):
    """Receptive field: one pixel, then a whole cell and its neighbours: up to 2 * stride + 1 pixels to any side."""
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.Tanh(),
        nn.Conv2d(6, 6, stride, stride=stride),
        nn.Tanh(),
        nn.Conv2d(6, 2, 3, padding=1),
        nn.Upsample(scale_factor=stride, mode="nearest"),
    ).eval()


def on_arrays(network):
    def call(images):
        with torch.inference_mode():
            return network(torch.from_numpy(images)).numpy()

    return call


def random_image(height, width):
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), np.uint8)


def whole(reader, network, tile, overlap, align, batch=3):
    done = []
    bands = list(
        map_tiles(
            reader,
            network,
            tile_px=tile,
            overlap_px=overlap,
            align_px=align,
            batch=batch,
            on_progress=done.append,
        )
    )
    assert sum(done) == len(tile_grid(reader.height_px, reader.width_px, tile, overlap, align))
    return np.concatenate([band.maps for band in bands], axis=1)


@pytest.mark.parametrize(("height", "width"), [(130, 97), (64, 200), (255, 64)])
@pytest.mark.parametrize(
    ("tile", "overlap", "align"), [(64, 16, 1), (64, 40, 4), (48, 36, 4), (96, 72, 8), (64, 40, 8), (128, 80, 16)]
)
def test_prediction_by_tiles_equals_prediction_in_one_piece(height, width, tile, overlap, align):
    stride = max(1, min(align, (margin_px(overlap) - 1) // 2))
    stride = max(divisor for divisor in range(1, stride + 1) if align % divisor == 0)
    assert 2 * stride + 1 <= margin_px(overlap)
    network = on_arrays(strided_network(stride))
    rgb = random_image(height, width)
    # In one piece the image is padded by reflection to what the tiles reach, which needs no more than one tile.
    padding = [(0, max(tile, -(-size // align) * align) - size) for size in (height, width)]
    padded = np.pad(rgb, (*padding, (0, 0)), mode="reflect").transpose(2, 0, 1)[None].astype(np.float32) / 255
    in_one_piece = network(padded)[0, :, :height, :width]
    by_tiles = whole(ArrayReader(rgb), network, tile, overlap, align)
    assert by_tiles.shape == in_one_piece.shape
    assert np.abs(by_tiles - in_one_piece).max() < 1e-5


def test_tiles_off_the_networks_grid_would_differ():
    network = on_arrays(strided_network(4))
    rgb = random_image(128, 128)
    in_one_piece = network(rgb.transpose(2, 0, 1)[None].astype(np.float32) / 255)[0]
    assert np.abs(whole(ArrayReader(rgb), network, 64, 41, 1) - in_one_piece).max() > 0.01


def test_a_network_that_returns_its_input_gives_the_image_back():
    reader = ArrayReader(random_image(75, 140))
    copy = whole(reader, lambda images: images, 32, 8, 8)
    assert np.abs(copy * 255 - reader.rgb.transpose(2, 0, 1)).max() < 1e-3


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 50), (31, 32)])
def test_an_image_smaller_than_a_tile_is_padded_by_reflection(height, width):
    reader = ArrayReader(random_image(height, width))
    copy = whole(reader, lambda images: images, 64, 16, 32)
    assert np.abs(copy * 255 - reader.rgb.transpose(2, 0, 1)).max() < 1e-3


def test_batches_are_filled_across_rows_of_tiles():
    sizes = []

    def network(images):
        sizes.append(len(images))
        return images

    whole(ArrayReader(random_image(100, 70)), network, 32, 8, 8, batch=5)
    assert sizes[:-1] == [5] * (len(sizes) - 1)
    assert sum(sizes) == len(tile_grid(100, 70, 32, 8, 8))


def test_one_other_thread_reads():
    reader = ArrayReader(random_image(100, 70))
    whole(reader, lambda images: images, 32, 8, 8)
    assert len(reader.threads) == 1
    assert threading.current_thread().name not in reader.threads


def test_a_damaged_place_ends_in_its_sentence_after_the_rows_above_it():
    reader = ArrayReader(random_image(300, 40), damaged_row=250)
    bands = map_tiles(
        reader, lambda images: images, tile_px=32, overlap_px=8, align_px=8, batch=1, on_progress=lambda count: None
    )
    finished = []
    with pytest.raises(DataError, match="row 250 is damaged"):
        finished.extend(band.y_px for band in bands)
    assert finished == list(range(0, 216, 24))


def test_a_consumer_that_stops_early_leaves_no_thread():
    reader = ArrayReader(random_image(300, 40))
    bands = map_tiles(
        reader, lambda images: images, tile_px=32, overlap_px=8, align_px=8, batch=1, on_progress=lambda count: None
    )
    next(bands)
    bands.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-tiles")]
