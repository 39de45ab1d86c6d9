"""The map of a slide, block by block, is the map of the whole."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from histoproto.backbones.small_conv import small_conv
from histoproto.cams.gate import local_scores
from histoproto.contracts import ClassMaps, Region, SlideReader, TissueModel
from histoproto.errors import DataError
from histoproto.inference import slide as slide_module
from histoproto.inference.decision import background_of, decide, predicted_classes
from histoproto.inference.evidence import ArrayReader, evidence_of
from histoproto.inference.gate import Gate
from histoproto.inference.settings import InferenceSettings
from histoproto.inference.slide import SlidePrediction
from histoproto.inference.window_means import WindowMeans
from histoproto.methods.lpd import LPD, LPDSettings
from histoproto.slides.areas import AreaOfInterest
from histoproto.slides.tiling import tile_grid
from histoproto.slides.tissue import Tissue
from histoproto.taxonomy import IGNORE

CLASSES = 3
BACKGROUND = CLASSES
GATE = Gate((0.05, 0.0, 0.02), 64)
TILED = InferenceSettings(views="none", tile_px=448, overlap_px=320)


@pytest.fixture(scope="module")
def method():
    torch.manual_seed(1)
    backbone = small_conv(widths=(8, 8, 12, 12))[0]
    made = LPD(backbone, None, CLASSES, LPDSettings(prototypes_per_class=2, prototype_dim=16, similarity_weight=0.0))
    with torch.no_grad():  # a few batches, so that BatchNorm has statistics of its own
        for _ in range(3):
            made.training_step(torch.rand(4, 3, 64, 64), torch.ones(4, CLASSES), 0)
    return made.eval()


def photograph(height, width):
    """Smooth colours, so that evidence is not decided by rounding, with a white corner."""
    coarse = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(2))
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)[0]
    smooth[:, : height // 4, : width // 3] = 1
    return (255 * smooth).byte().permute(1, 2, 0).numpy()


def composed(prediction, height, width):
    """Put the blocks of a prediction together; 77 where none has written."""
    mask = np.full((height, width), 77, np.uint8)
    confidence = np.zeros((height, width), np.uint8)
    shares = np.zeros((CLASSES, -(-height // 4), -(-width // 4)), np.uint8)
    done = []
    for block in prediction.blocks(done.append):
        rows, columns = block.mask.shape
        place = slice(block.y_px, block.y_px + rows), slice(block.x_px, block.x_px + columns)
        assert (mask[place] == 77).all(), "blocks overlap"
        mask[place], confidence[place] = block.mask, block.confidence
        _, sampled_rows, sampled_columns = block.probabilities.shape
        top, left = -(-block.y_px // 4), -(-block.x_px // 4)
        shares[:, top : top + sampled_rows, left : left + sampled_columns] = block.probabilities
    assert sum(done) == prediction.tiles
    return mask, confidence, shares


def in_one_piece(method, rgb):
    evidence = evidence_of(method, rgb, GATE.window_px, replace(TILED, tile_px=2048))
    background = background_of(rgb, evidence.maps, "white")
    return decide(evidence.maps, predicted_classes(evidence, GATE), background)


@pytest.mark.parametrize("widest_px", [None, 700])
def test_a_slide_in_pieces_gives_what_it_gives_in_one(method, monkeypatch, widest_px):
    rgb = photograph(470, 1150)
    if widest_px:
        monkeypatch.setattr(slide_module, "PIECE_BYTES", widest_px * 4 * (2 * CLASSES + 1) * TILED.tile_px)
        monkeypatch.setattr(slide_module, "FEWEST_TILES", 1)
    prediction = SlidePrediction(method, ArrayReader(rgb), GATE, TILED)
    assert (prediction.tiles > len(tile_grid(470, 1150, 448, 320, 32))) == bool(widest_px)  # some are in two strips
    mask, confidence, shares = composed(prediction, 470, 1150)
    whole = in_one_piece(method, rgb)
    assert (mask != whole.mask.numpy()).mean() < 1e-4
    assert np.abs(confidence - 255 * whole.confidence.numpy()).max() < 1.0
    assert np.abs(shares - 255 * whole.shares.numpy()[:, ::4, ::4]).max() < 1.0
    assert len(np.unique(mask)) > 2


def test_where_only_tissue_is_computed_its_map_is_that_of_the_whole_slide(method):
    rgb = photograph(1200, 1000)
    cells = np.zeros((75, 63), bool)
    cells[5:10, 45:60] = True  # two islands
    cells[68:, :9] = True
    area = AreaOfInterest(1.0, tissue=Tissue(cells, 16.0))
    prediction = SlidePrediction(method, ArrayReader(rgb), GATE, TILED, area)
    assert prediction.tiles < 0.6 * SlidePrediction(method, ArrayReader(rgb), GATE, TILED).tiles
    mask, confidence, _ = composed(prediction, 1200, 1000)
    tissue = area.pixels(Region(0, 0, 1000, 1200))
    whole = in_one_piece(method, rgb)
    assert (mask[tissue] != whole.mask.numpy()[tissue]).mean() < 1e-4
    assert set(np.unique(mask[~tissue])) <= {77, BACKGROUND}
    assert (confidence[~tissue] == 0).all()


class DamagedReader(ArrayReader):
    """Cannot read a square of 80 pixels."""

    place = (300, 420)  # y, x

    def read(self, region):
        y, x = self.place
        above, left = region.y_px >= y + 80, region.x_px >= x + 80
        if not (above or left or region.y_px + region.height_px <= y or region.x_px + region.width_px <= x):
            raise DataError("damaged")
        return super().read(region)


def test_what_cannot_be_read_is_undecided_and_listed(method):
    rgb = photograph(700, 900)
    reader = DamagedReader(rgb)
    prediction = SlidePrediction(method, reader, GATE, TILED)
    mask, confidence, _ = composed(prediction, 700, 900)
    damaged = mask == IGNORE
    assert damaged[300:380, 420:500].all()
    assert damaged[:200].sum() == damaged[500:].sum() == 0
    assert damaged.sum() < (80 + 2 * 64) ** 2  # tiles divide the place differently, to 64 px
    assert (confidence[damaged] == 0).all()
    listed = np.zeros((700, 900), bool)
    for part in prediction.unreadable:
        listed[part.y_px : part.y_px + part.height_px, part.x_px : part.x_px + part.width_px] = True
    assert (listed == damaged).all()


def test_a_refiner_does_not_stumble_over_damage(method):
    refined = replace(TILED, refine="superpixels")
    prediction = SlidePrediction(method, DamagedReader(photograph(420, 560)), GATE, refined)
    mask, _, _ = composed(prediction, 420, 560)
    assert (mask[300:380, 420:500] == IGNORE).all()
    assert (mask[:200] != IGNORE).all()


def test_damage_outside_of_what_is_asked_for_is_background(method):
    cells = np.zeros((28, 36), bool)
    cells[:, :20] = True
    area = AreaOfInterest(1.0, tissue=Tissue(cells, 16.0))
    prediction = SlidePrediction(method, DamagedReader(photograph(420, 560)), GATE, TILED, area)
    mask, _, _ = composed(prediction, 420, 560)
    assert (mask != IGNORE).all()
    assert prediction.read_px == 420 * 320


def test_a_slide_smaller_than_a_tile_is_predicted(method):
    rgb = photograph(50, 70)
    mask, _, _ = composed(SlidePrediction(method, ArrayReader(rgb), GATE, TILED), 50, 70)
    assert (mask != 77).all()


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 60),
    window=st.integers(1, 70),
    cuts=st.lists(st.integers(1, 59), max_size=6),
    width=st.integers(1, 12),
)
def test_scores_by_bands_are_the_scores_of_the_whole(height, window, cuts, width):
    maps = torch.randn(2, height, width, generator=torch.Generator().manual_seed(height))
    borders = sorted({0, height, *(cut for cut in cuts if cut < height)})
    means = WindowMeans(height, window)
    bands = [means.push(maps[:, top:below]) for top, below in pairwise(borders)]
    torch.testing.assert_close(torch.cat(bands, dim=1), local_scores(maps[None], window)[0], atol=1e-5, rtol=1e-5)


class EndlessReader(SlideReader):
    """Grey everywhere, made when it is read."""

    path, mpp = None, 1.0

    def __init__(self, height_px, width_px):
        self.height_px, self.width_px = height_px, width_px

    def read(self, region):
        return np.full((region.height_px, region.width_px, 3), 120, np.uint8)

    def close(self):
        pass


class Constant(TissueModel):
    """The same evidence everywhere."""

    def __init__(self):
        super().__init__()
        self.values = torch.nn.Parameter(torch.tensor([1.0, 3.0, 2.0]))

    def class_maps(self, images):
        maps = self.values.view(1, -1, 1, 1).expand(len(images), -1, images.shape[-2] // 16, images.shape[-1] // 16)
        return ClassMaps(maps, maps)


def test_a_constant_map_comes_back_constant():
    prediction = SlidePrediction(Constant().eval(), EndlessReader(900, 2000), GATE, TILED)
    mask, confidence, _ = composed(prediction, 900, 2000)
    assert (mask == 1).all()
    assert np.ptp(confidence.astype(int)) <= 1
