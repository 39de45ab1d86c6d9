import torch

from histoproto.inference.decision import decide


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
