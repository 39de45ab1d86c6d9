from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histoproto.errors import ConfigError
from histoproto.slides.tiling import Tile, tile_grid


@st.composite
def grids(draw):
    align = draw(st.integers(1, 16))
    tile = align * draw(st.integers(1, 8))
    overlap = draw(st.integers(0, tile - align))
    return draw(st.integers(1, 200)), draw(st.integers(1, 200)), tile, overlap, align


@settings(max_examples=100, deadline=None)
@given(grids())
def test_tiles_cover_every_pixel(grid):
    height, width, *_ = grid
    covered = np.zeros((height, width), bool)
    for tile in tile_grid(*grid):
        assert tile.y_px < height
        assert tile.x_px < width
        covered[tile.y_px : tile.y_px + tile.height_px, tile.x_px : tile.x_px + tile.width_px] = True
    assert covered.all()


@settings(max_examples=100, deadline=None)
@given(grids())
def test_tiles_are_aligned_and_of_one_size_and_form_a_full_grid_in_row_order(grid):
    _, _, size, _, align = grid
    tiles = tile_grid(*grid)
    rows, columns = sorted({tile.y_px for tile in tiles}), sorted({tile.x_px for tile in tiles})
    assert tiles == [Tile(y, x, size, size) for y in rows for x in columns]
    assert all(offset % align == 0 for offset in (*rows, *columns))


@settings(max_examples=100, deadline=None)
@given(grids())
def test_neighbours_overlap_by_no_less_than_asked(grid):
    _, _, size, overlap, _ = grid
    rows = sorted({tile.y_px for tile in tile_grid(*grid)})
    assert all(before + size - after >= overlap for before, after in pairwise(rows))


@settings(max_examples=100, deadline=None)
@given(grids())
def test_the_last_tile_ends_where_an_image_in_one_piece_is_padded_to(grid):
    height, _, size, _, align = grid
    last = tile_grid(*grid)[-1]
    assert last.y_px + size == max(size, -(-height // align) * align)


def test_an_image_smaller_than_a_tile_gets_one_tile():
    assert tile_grid(30, 20, 64, 16, 32) == [Tile(0, 0, 64, 64)]


@pytest.mark.parametrize(
    ("tile", "overlap", "align", "sentence"),
    [(100, 16, 32, "no multiple of 32"), (64, 40, 32, "choose 0 to 32 px"), (64, -1, 32, "does not fit")],
)
def test_sizes_that_do_not_fit_together_end_in_a_sentence(tile, overlap, align, sentence):
    with pytest.raises(ConfigError, match=sentence):
        tile_grid(300, 300, tile, overlap, align)
