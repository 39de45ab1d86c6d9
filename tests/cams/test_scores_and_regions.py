import torch

from histoproto.cams.regions import cut_regions, threshold
from histoproto.cams.scores import cam_scores, minmax, upsample


def test_scores_equal_the_released_code(golden):
    numbers = golden("cam_scores")
    height, width = numbers["size"].int().tolist()
    scores = cam_scores(numbers["cam"], numbers["labels"], (height, width))
    torch.testing.assert_close(scores, numbers["scores"], atol=1e-5, rtol=0)


def test_foreground_and_background_equal_the_released_code(golden):
    numbers = golden("foreground_background")
    maps = upsample(numbers["cam"], (32, 32))
    mask = threshold(maps, numbers["delta"].item(), over_image=True)
    image, column = numbers["labels"].nonzero(as_tuple=True)
    regions = cut_regions(numbers["image"][image], maps[image, column], mask[image, column])
    torch.testing.assert_close(maps, numbers["cam_upsampled"])
    torch.testing.assert_close(mask.float(), numbers["mask"])
    torch.testing.assert_close(regions.foreground, numbers["foreground"])
    torch.testing.assert_close(regions.background, numbers["background"])


def test_a_weak_class_keeps_its_mask_beside_a_strong_one():
    maps = torch.stack([torch.linspace(0, 100, 16).reshape(4, 4), torch.linspace(0, 1, 16).reshape(4, 4)])[None]
    assert threshold(maps, 0.5)[0, 1].sum() == 8
    assert threshold(maps, 0.5, over_image=True)[0, 1].sum() == 0


def test_a_constant_map_stretches_to_zero_not_nan():
    assert (minmax(torch.full((1, 1, 3, 3), 4.0)) == 0).all()


def test_gradient_reaches_the_map_through_both_regions():
    maps = torch.rand(1, 4, 4, requires_grad=True)
    mask = maps.detach() > 0.5
    for region in cut_regions(torch.rand(1, 3, 4, 4), maps, mask):
        (gradient,) = torch.autograd.grad(region.sum(), maps, retain_graph=True)
        assert gradient.abs().sum() > 0
