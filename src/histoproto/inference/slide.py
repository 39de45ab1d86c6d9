"""The tissue map of a slide, block by block, in memory that does not grow with the slide."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from histoproto.cams.background import white_background
from histoproto.cams.gate import allowed_classes
from histoproto.contracts import Region, SlideReader, TissueModel
from histoproto.inference.decision import decide, unlikely_tissue
from histoproto.inference.evidence import Tiling, tile_maps, tiling_of
from histoproto.inference.gate import Gate
from histoproto.inference.refine import refiner_of
from histoproto.inference.row_queue import RowQueue
from histoproto.inference.settings import InferenceSettings
from histoproto.inference.window_means import WindowMeans
from histoproto.progress import Advance
from histoproto.slides.areas import AreaOfInterest
from histoproto.slides.blend import BAND_ROWS, Band
from histoproto.slides.damage import read_around_damage
from histoproto.slides.pieces import Piece, cut_into_pieces
from histoproto.slides.samples import samples
from histoproto.slides.stream import map_pieces
from histoproto.taxonomy import IGNORE

PIECE_BYTES = 200_000_000
"""Memory for the blended maps of one piece; all that is made of them takes about as much again."""
FEWEST_TILES = 3
"""Tiles beside each other in a piece, whatever memory they take."""


class Block(NamedTuple):
    """The decided map of a part of an image."""

    y_px: int
    x_px: int
    mask: UInt8[np.ndarray, "height width"]
    """Class indices, ``classes`` where background or not asked for, 255 where undecided or unreadable."""
    confidence: UInt8[np.ndarray, "height width"]
    """Share of the strongest allowed class, 255 for 1; 0 where nothing was decided."""
    probabilities: UInt8[np.ndarray, "classes rows columns"]
    """Shares of the allowed classes, 255 for 1, of those pixels that ``samples`` names."""


class SlidePrediction:
    """How one slide is predicted.

    Args:
        model: trained, in evaluation mode.
        reader: the slide at the resolution of the training patches.
        gate: which classes the model lets in.
        settings: views, context, size of tiles.
        area: what to predict; None predicts everything.
    """

    def __init__(
        self,
        model: TissueModel,
        reader: SlideReader,
        gate: Gate,
        settings: InferenceSettings,
        area: AreaOfInterest | None = None,
    ) -> None:
        self.model, self.reader, self.gate, self.settings, self.area = model, reader, gate, settings, area
        self.unreadable: list[Region] = []
        """Parts that could not be read; complete after ``blocks``."""
        self.read_px = 0
        """Pixels asked for that could be read; complete after ``blocks``."""
        tiling = _fitting(tiling_of(gate.window_px, settings), max(reader.height_px, reader.width_px))
        self._tiling = tiling
        row_bytes = 4 * (2 * len(gate.thresholds) + 1) * tiling.tile_px
        self._pieces = cut_into_pieces(
            reader.height_px,
            reader.width_px,
            tile_px=tiling.tile_px,
            overlap_px=tiling.overlap_px,
            align_px=tiling.align_px,
            reach_px=gate.window_px // 2 + 1,  # at the image's border windows are shifted, but stay in their tile
            widest_px=max(FEWEST_TILES * tiling.tile_px, PIECE_BYTES // row_bytes),
            wanted=area.touches if area else None,
        )

    @property
    def tiles(self) -> int:
        """How many tiles are computed."""
        return sum(len(piece.tiles) for piece in self._pieces)

    def blocks(self, on_tiles: Advance) -> Iterator[Block]:
        """Yield the map of all that is predicted, in blocks that do not overlap.

        Args:
            on_tiles: called with the number of tiles just finished, of ``tiles``.
        """
        tiling = self._tiling
        placed = map_pieces(
            self.reader,
            self._evidence,
            self._pieces,
            overlap_px=tiling.overlap_px,
            batch=tiling.batch,
            on_progress=on_tiles,
            fade=tiling.fade,
            on_damage=self.unreadable.append,
        )
        for piece, bands in groupby(placed, key=lambda placed: placed.piece):
            for rows in _with_scores(piece, (placed.band for placed in bands), self.gate.window_px):
                yield self._decided(piece, rows)

    def _evidence(
        self, images: Float[np.ndarray, "batch 3 tile tile"]
    ) -> Float[np.ndarray, "batch channels tile tile"]:
        """Return class maps, 1 where an image is white, and score maps."""
        tiles = torch.from_numpy(images)
        maps, score_maps = tile_maps(self.model, tiles, self.settings)
        return torch.cat([maps, white_background(tiles)[:, None].float(), score_maps], dim=1).numpy()

    def _decided(self, piece: Piece, rows: "_Rows") -> Block:
        region = Region(piece.left_px, rows.y_px, piece.right_px - piece.left_px, rows.maps.shape[1])
        present = allowed_classes(rows.scores[None], torch.tensor(self.gate.thresholds))[0]
        white = self.settings.background == "white"
        background = rows.white > 0.5 if white else unlikely_tissue(rows.maps)
        refine = None
        if self.settings.refine != "none":
            rgb = read_around_damage(self.reader, region, self.unreadable.append)
            refine = refiner_of(self.model, rgb, self.settings)
        decision = decide(rows.maps, present, background, refine)
        mask = decision.mask.numpy()
        confidence = _as_bytes(decision.confidence)
        rows_kept = samples(region.y_px, region.height_px) - region.y_px
        columns_kept = samples(region.x_px, region.width_px) - region.x_px
        kept = np.ix_(rows_kept, columns_kept)
        probabilities = _as_bytes(decision.shares[:, kept[0], kept[1]])
        lost = self._lost(region)
        asked = np.ones(mask.shape, bool) if self.area is None else self.area.pixels(region)
        mask[lost], confidence[lost | ~asked] = IGNORE, 0
        mask[~asked] = len(probabilities)
        probabilities[:, (lost | ~asked)[kept]] = 0
        self.read_px += int((asked & ~lost).sum())
        return Block(region.y_px, region.x_px, mask, confidence, probabilities)

    def _lost(self, region: Region) -> Bool[np.ndarray, "height width"]:
        """Return which pixels of a region could not be read."""
        lost = np.zeros((region.height_px, region.width_px), bool)
        for part in list(self.unreadable):
            rows = slice(max(0, part.y_px - region.y_px), max(0, part.y_px + part.height_px - region.y_px))
            columns = slice(max(0, part.x_px - region.x_px), max(0, part.x_px + part.width_px - region.x_px))
            lost[rows, columns] = True
        return lost


def _fitting(tiling: Tiling, longest_px: int) -> Tiling:
    """Return smaller tiles for a slide that does not fill one."""
    tile_px = min(tiling.tile_px, -(-longest_px // tiling.align_px) * tiling.align_px)
    return tiling._replace(tile_px=tile_px, overlap_px=min(tiling.overlap_px, tile_px - tiling.align_px))


class _Rows(NamedTuple):
    """Evidence of some rows of a piece, for the columns that it answers for."""

    y_px: int
    maps: Float[Tensor, "classes rows width"]
    white: Float[Tensor, "rows width"]
    scores: Float[Tensor, "classes rows width"]


def _with_scores(piece: Piece, bands: Iterable[Band], window_px: int) -> Iterator[_Rows]:
    """Yield the rows of a piece as soon as their windows' scores are complete, up to multiples of ``BAND_ROWS``."""
    columns = slice(piece.left_px - piece.area.x_px, piece.right_px - piece.area.x_px)
    means = WindowMeans(piece.area.height_px, window_px)
    maps, scores = RowQueue(), RowQueue()
    top, done = piece.area.y_px, 0
    for band in bands:
        evidence = torch.from_numpy(band.maps)
        classes = len(evidence) // 2
        maps.push(evidence[: classes + 1, :, columns].clone())  # without the scores, which take as much memory
        scores.push(means.push(evidence[classes + 1 :])[..., columns])
        complete = scores.end == piece.area.height_px
        end = scores.end if complete else (top + scores.end) // BAND_ROWS * BAND_ROWS - top
        if end > done:
            rows = maps.rows(done, end)
            yield _Rows(top + done, rows[:-1], rows[-1], scores.rows(done, end))
            done = end
            maps.drop(done)
            scores.drop(done)


def _as_bytes(values: Float[Tensor, " *shape"]) -> UInt8[np.ndarray, " *shape"]:
    return (values * 255).round().to(torch.uint8).numpy()
