import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from histoproto.encoders.sam import Proposals, segment_anything
from histoproto.errors import ConfigError, WeightsError
from histoproto.inference.refine import check_refiner, refiner_of
from histoproto.inference.sam import SamSettings, SamVoting, good_masks, grid_points
from histoproto.inference.settings import InferenceSettings
from tests.inference.tiny_sam import SIDE_PX, save_sam, save_sam2

ALL = {"quality": -1e9, "stability": 0.0, "largest": 1.0, "points_per_side": 3}
"""Random networks think little of their masks."""


@pytest.fixture(scope="module", params=[save_sam, save_sam2], ids=["sam", "sam2"])
def weights(request, tmp_path_factory):
    return str(request.param(tmp_path_factory.mktemp("weights") / "network"))


def test_every_tensor_is_loaded(weights):
    network, loaded = segment_anything(weights)
    assert loaded.tensors == len(network.network.state_dict())
    assert loaded.sha256


def test_masks_vote_and_shares_still_sum_to_one(weights):
    rgb = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    settings = InferenceSettings(refine="sam", sam=SamSettings(weights, **ALL))
    refine = refiner_of(nn.Module(), rgb, settings)
    masks = list(refine.masks())
    areas = [int(mask.sum()) for mask in masks]
    assert masks
    assert areas == sorted(areas, reverse=True)
    shares = torch.randn(3, 40, 60).softmax(0)
    refined = refine(shares)
    torch.testing.assert_close(refined.sum(0), torch.ones(40, 60))
    smallest = masks[-1]
    torch.testing.assert_close(refined[:, smallest], shares[:, smallest].mean(1, keepdim=True).expand(3, areas[-1]))
    outside = ~torch.stack(masks).any(0)
    assert torch.equal(refined[:, outside], shares[:, outside])


def test_masks_that_cover_too_much_do_not_vote(weights):
    image = torch.rand(3, 40, 60)
    settings = SamSettings(weights, **ALL | {"largest": 0.3})
    assert all(mask.sum() <= 0.3 * 40 * 60 for mask in SamVoting(image, settings).masks())


def test_a_mask_comes_back_where_it_was(weights):
    network, _ = segment_anything(weights)
    height, width = 48, 96
    truth = torch.zeros(height, width, dtype=torch.bool)
    truth[12:36, 24:60] = True
    rows = SIDE_PX if network.stretches else SIDE_PX // 2  # the upper half of the square, or all of it
    seen = torch.full((SIDE_PX, SIDE_PX), -1.0)
    inner = interpolate(truth[None, None].float(), size=(rows, SIDE_PX), mode="bilinear", antialias=True)
    seen[:rows] = 2 * inner[0, 0] - 1
    back = network.full_size(interpolate(seen[None, None], size=(32, 32), mode="area")[0, 0], height, width)
    assert (back == truth).float().mean() > 0.97


def test_points_lie_in_the_middle_of_their_cells():
    points = grid_points(2)
    assert points.tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]


def test_doubtful_masks_are_left_out():
    sure = torch.tensor([[-9.0, 9.0], [-9.0, 9.0]])
    wavering = torch.tensor([[-9.0, 0.5], [-9.0, 9.0]])
    proposals = Proposals(torch.stack([sure, wavering, sure]), torch.tensor([0.9, 0.9, 0.5]))
    kept = good_masks(proposals, SamSettings(quality=0.8, stability=0.9))
    assert torch.equal(kept, sure[None])


def test_weights_have_to_be_named():
    with pytest.raises(ConfigError, match="name a folder or hf:org/name"):
        check_refiner(nn.Module(), InferenceSettings(refine="sam"))


def test_another_network_is_refused(weights, tmp_path):
    folder = shutil.copytree(weights, tmp_path / "other")
    (folder / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(WeightsError, match="is of vit, not of sam or sam2"):
        segment_anything(str(folder))
    (folder / "config.json").unlink()
    with pytest.raises(WeightsError, match="missing or damaged"):
        segment_anything(str(folder))
    with pytest.raises(WeightsError, match="no such weights file or folder"):
        segment_anything(str(tmp_path / "nowhere"))
