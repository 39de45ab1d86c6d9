import pytest
import torch

from histoproto.errors import ConfigError
from histoproto.inference.decision import decide
from histoproto.inference.refine import LARGEST_PX, refiner_of
from histoproto.inference.settings import InferenceSettings


def everything_is_class_two(shares):
    return torch.nn.functional.one_hot(torch.full(shares.shape[1:], 2), 3).permute(2, 0, 1).float()


def test_a_refiner_never_brings_in_a_class_that_is_shut_out():
    maps = torch.randn(3, 8, 9)
    present = torch.tensor([True, True, False])
    found = decide(maps, present, refine=everything_is_class_two)
    assert not (found.mask == 2).any()
    allowed = decide(maps, torch.tensor([True, True, True]), refine=everything_is_class_two)
    assert (allowed.mask == 2).all()
    assert (allowed.confidence == 1).all()


def test_a_crf_moves_the_border_to_the_edge_of_the_photograph():
    rgb = torch.zeros(40, 40, 3, dtype=torch.uint8)
    rgb[:, 20:] = 200
    evidence = torch.linspace(1, -1, 40).roll(3).expand(40, 40)
    maps = torch.stack([evidence, -evidence])
    present = torch.tensor([True, True])
    refine = refiner_of(rgb.numpy(), InferenceSettings(refine="crf"))
    plain, refined = decide(maps, present), decide(maps, present, refine=refine)
    truth = (torch.arange(40) >= 20).expand(40, 40)
    assert (plain.mask.bool() != truth).any()
    assert torch.equal(refined.mask.bool(), truth)


def test_no_refiner_is_made_unless_asked_for():
    assert refiner_of(torch.zeros(4, 4, 3, dtype=torch.uint8).numpy(), InferenceSettings()) is None


def test_an_image_too_large_for_the_crf_is_refused():
    wide = torch.zeros(1, 1, 3, dtype=torch.uint8).expand(3001, LARGEST_PX // 3000, 3).numpy()
    with pytest.raises(ConfigError, match="9 megapixels"):
        refiner_of(wide, InferenceSettings(refine="crf"))
