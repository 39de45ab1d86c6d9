import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histoproto.slides.blend import Blender, margin_px
from histoproto.slides.tiling import Tile, tile_grid


@st.composite
def grids(draw):
    align = draw(st.integers(1, 4))
    tile = align * draw(st.integers(4, 12))
    overlap = draw(st.integers(0, tile - align))
    return draw(st.integers(1, 90)), draw(st.integers(1, 90)), tile, overlap, align


def bands_of(grid, tile_maps, channels):
    height, width, size, overlap, _ = grid
    blender = Blender(channels, height, width, size, overlap)
    bands = []
    for tile in tile_grid(*grid):
        bands += blender.advance(tile.y_px)
        blender.add(tile, tile_maps(tile))
    return [*bands, *blender.advance(height)]


@settings(max_examples=60, deadline=None)
@given(grids())
def test_a_constant_map_comes_back_constant(grid):
    values = np.array([3.0, -0.25], np.float32)
    constant = np.broadcast_to(values[:, None, None], (2, grid[2], grid[2])).copy()
    blended = np.concatenate([band.maps for band in bands_of(grid, lambda tile: constant, 2)], axis=1)
    assert blended.shape == (2, *grid[:2])
    assert np.allclose(blended, values[:, None, None], rtol=1e-5)


@settings(max_examples=60, deadline=None)
@given(grids())
def test_bands_come_in_order_without_gaps(grid):
    bands = bands_of(grid, lambda tile: np.zeros((1, grid[2], grid[2]), np.float32), 1)
    ends = [band.y_px + band.maps.shape[1] for band in bands]
    assert [band.y_px for band in bands] == [0, *ends[:-1]]
    assert ends[-1] == grid[0]


@settings(max_examples=60, deadline=None)
@given(grids(), st.integers(0, 2**31))
def test_tiles_of_a_local_function_equal_one_piece(grid, seed):
    height, width, size, overlap, _ = grid
    radius = margin_px(overlap)
    rng = np.random.default_rng(seed)
    # A correlation is local: outside its tile a tile sees zeros, so values within `radius` of an inner edge are wrong.
    padded = np.zeros((height + size + 2 * radius, width + size + 2 * radius), np.float32)
    padded[radius : radius + height, radius : radius + width] = rng.standard_normal((height, width))
    kernel = rng.standard_normal((2 * radius + 1, 2 * radius + 1)).astype(np.float32)

    def correlated(image):
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(image, radius), kernel.shape)
        return np.einsum("ijkl,kl->ij", windows, kernel)

    def tile_maps(tile):
        rows = slice(radius + tile.y_px, radius + tile.y_px + size)
        return correlated(padded[rows, radius + tile.x_px : radius + tile.x_px + size])[None]

    inner = padded[radius : radius + height, radius : radius + width]
    blended = np.concatenate([band.maps[0] for band in bands_of(grid, tile_maps, 1)])
    assert np.allclose(blended, correlated(inner), atol=1e-3 * max(1, np.abs(kernel).sum()))


def test_values_near_an_inner_edge_do_not_count_and_those_near_the_border_do():
    blender = Blender(1, 16, 28, 16, 8)
    first = np.zeros((1, 16, 16), np.float32)
    first[..., -margin_px(8) :] = 1e6
    second = np.zeros((1, 16, 16), np.float32)
    second[..., : margin_px(8)] = 1e6
    second[..., -1] = 5
    blender.add(Tile(0, 0, 16, 16), first)
    blender.add(Tile(0, 12, 16, 16), second)
    (band,) = blender.advance(16)
    blended = band.maps[0]
    assert (blended[:, :-1] == 0).all()
    assert np.allclose(blended[:, -1], 5)


def test_memory_holds_one_row_of_tiles_however_high_the_image():
    blender = Blender(2, 10**9, 40, 16, 4)
    assert blender._sums.shape == (2, 16, 40)


@pytest.mark.parametrize("tiles", [[(0, 0), (12, 0), (0, 0)], [(24, 0)], [(0, 12), (12, 0)]])
def test_tiles_out_of_order_or_left_out_are_refused(tiles):
    blender = Blender(1, 60, 28, 16, 4)
    with pytest.raises(ValueError, match="row order"):
        for y, x in tiles:
            list(blender.advance(y))
            blender.add(Tile(y, x, 16, 16), np.zeros((1, 16, 16), np.float32))
