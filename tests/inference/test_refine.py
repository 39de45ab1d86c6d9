import numpy as np
import pytest
import torch
from torch import nn

from histoproto.backbones.small_conv import SmallConv
from histoproto.contracts import MethodSettings
from histoproto.errors import ConfigError
from histoproto.inference.decision import decide
from histoproto.inference.refine import LARGEST_PX, check_refiner, refiner_of
from histoproto.inference.settings import InferenceSettings
from histoproto.inference.superpixels import SuperpixelSettings, SuperpixelVoting, superpixels
from histoproto.methods.cam import CAM

NOBODY = nn.Module()
"""A model for refiners that ask none."""


@pytest.fixture(scope="module")
def model():
    return CAM(SmallConv([8, 8, 8, 8]), 2, MethodSettings()).eval()


def halves(side=40):
    """Return a photograph of two colours, class maps whose border lies three pixels off, and the true mask."""
    rgb = np.zeros((side, side, 3), dtype=np.uint8)
    rgb[:, side // 2 :] = 200
    evidence = torch.linspace(1, -1, side).roll(3).expand(side, side)
    return rgb, torch.stack([evidence, -evidence]), (torch.arange(side) >= side // 2).expand(side, side)


@pytest.mark.parametrize("name", ["crf", "affinity", "superpixels"])
def test_a_refiner_moves_the_border_to_the_edge_of_the_photograph(name, model):
    rgb, maps, truth = halves()
    settings = InferenceSettings(refine=name, superpixels=SuperpixelSettings(side_px=10, sizes=1, rounds=1))
    present = torch.tensor([True, True])
    refine = refiner_of(model, rgb, settings)
    plain, refined = decide(maps, present), decide(maps, present, refine=refine)
    wrong = (plain.mask.bool() != truth).sum(), (refined.mask.bool() != truth).sum()
    assert wrong[0] >= 100
    assert wrong[1] == 0


@pytest.mark.parametrize("name", ["crf", "affinity", "superpixels"])
def test_shares_sum_to_one_and_constant_ones_stay(name, model):
    rgb = np.random.default_rng(0).integers(0, 256, (37, 50, 3), dtype=np.uint8)
    refine = refiner_of(model, rgb, InferenceSettings(refine=name))
    shares = torch.randn(3, 37, 50).softmax(0)
    torch.testing.assert_close(refine(shares).sum(0), torch.ones(37, 50))
    if name != "crf":  # a field sharpens what all agree on
        even = torch.full((4, 37, 50), 0.25)
        torch.testing.assert_close(refine(even), even)


def test_no_refiner_is_made_unless_asked_for():
    assert refiner_of(NOBODY, np.zeros((4, 4, 3), dtype=np.uint8), InferenceSettings()) is None


@pytest.mark.parametrize("name", ["crf", "affinity", "superpixels"])
def test_an_image_too_large_is_refused(name, model):
    wide = np.broadcast_to(np.zeros((1, 1, 3), dtype=np.uint8), (3001, LARGEST_PX // 3000, 3))
    with pytest.raises(ConfigError, match=rf"refine {name} .*9 megapixels"):
        refiner_of(model, wide, InferenceSettings(refine=name))


def test_a_model_without_a_backbone_has_no_affinity():
    with pytest.raises(ConfigError, match=r"of histoproto.s own, and this model has none"):
        check_refiner(NOBODY, InferenceSettings(refine="affinity"))


def test_each_size_of_superpixels_has_twice_the_area_of_the_one_before():
    assert SuperpixelSettings().sides_px == [7, 10, 14]
    assert SuperpixelSettings(side_px=8, sizes=1).sides_px == [8]


def test_a_superpixel_takes_the_mean_of_its_pixels():
    rgb = np.full((24, 30, 3), 180, dtype=np.uint8)
    rgb[5:15, 8:20] = (90, 40, 120)
    settings = SuperpixelSettings(side_px=6, sizes=1, rounds=1)
    shares = torch.rand(2, 24, 30)
    regions = superpixels(rgb, 6, settings.compactness)
    voted = SuperpixelVoting(rgb, settings)(shares)
    assert len(regions.unique()) > 4
    for region in regions.unique():
        own = shares[:, regions == region].mean(1, keepdim=True)
        torch.testing.assert_close(voted[:, regions == region], own.expand(-1, int((regions == region).sum())))
