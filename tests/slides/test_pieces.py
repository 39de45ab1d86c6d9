from hypothesis import given, settings
from hypothesis import strategies as st

from histoproto.slides.pieces import cut_into_pieces
from histoproto.slides.tiling import tile_grid


@st.composite
def slides(draw):
    align = draw(st.integers(1, 4))
    tile = align * draw(st.integers(3, 8))
    overlap = draw(st.integers(0, tile - align))
    size = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    options = {"tile_px": tile, "overlap_px": overlap, "align_px": align}
    options["reach_px"] = draw(st.integers(0, 6))
    options["widest_px"] = draw(st.none() | st.integers(1, 80))
    return size, options


def grid_of(size, options):
    return tile_grid(*size, options["tile_px"], options["overlap_px"], options["align_px"])


def owners(pieces, y, x):
    """Return the pieces that answer for a pixel."""
    return [
        piece
        for piece in pieces
        if piece.left_px <= x < piece.right_px and piece.area.y_px <= y < piece.area.y_px + piece.area.height_px
    ]


@settings(max_examples=80, deadline=None)
@given(slides())
def test_without_a_choice_every_tile_is_computed_and_every_pixel_has_one_piece(slide):
    size, options = slide
    pieces = cut_into_pieces(*size, **options)
    assert {tile for piece in pieces for tile in piece.tiles} == set(grid_of(size, options))
    for y in range(0, size[0], 7):
        for x in range(size[1]):
            assert len(owners(pieces, y, x)) == 1


@settings(max_examples=80, deadline=None)
@given(slides(), st.lists(st.tuples(st.integers(0, 89), st.integers(0, 89)), max_size=4))
def test_who_answers_for_a_wanted_pixel_has_every_tile_that_shows_its_surroundings(slide, spots):
    size, options = slide
    spots = [(y, x) for y, x in spots if y < size[0] and x < size[1]]

    def wanted(region):
        return any(
            region.x_px <= x < region.x_px + region.width_px and region.y_px <= y < region.y_px + region.height_px
            for y, x in spots
        )

    pieces = cut_into_pieces(*size, **options, wanted=wanted)
    reach, side = options["reach_px"], options["tile_px"]
    for y, x in spots:
        answering = [piece for piece in owners(pieces, y, x) if any(covers(tile, y, x) for tile in piece.tiles)]
        assert len(answering) == 1
        around = {
            tile
            for tile in grid_of(size, options)
            if tile.y_px - reach <= y < tile.y_px + side + reach and tile.x_px - reach <= x < tile.x_px + side + reach
        }
        assert around <= set(answering[0].tiles)
    if not spots:
        assert pieces == []


def covers(tile, y, x):
    return tile.y_px <= y < tile.y_px + tile.height_px and tile.x_px <= x < tile.x_px + tile.width_px


def test_a_piece_is_no_wider_than_what_is_wanted():
    (piece,) = cut_into_pieces(
        1000,
        5000,
        tile_px=100,
        overlap_px=20,
        align_px=4,
        wanted=lambda region: region.x_px <= 2000 < region.x_px + 100,
    )
    assert piece.area.width_px <= 200
    assert piece.left_px <= 2000 < piece.right_px


def test_a_strip_s_width_does_not_grow_with_the_slide():
    widths = [
        max(
            piece.area.width_px
            for piece in cut_into_pieces(500, width, tile_px=100, overlap_px=20, align_px=4, reach_px=30, widest_px=600)
        )
        for width in (2_000, 20_000)
    ]
    assert widths[0] == widths[1] <= 700
