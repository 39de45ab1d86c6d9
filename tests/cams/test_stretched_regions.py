import torch

from histoproto.cams.regions import cut_regions, cut_stretched_regions, threshold
from histoproto.cams.scores import upsample


def test_equals_the_released_pbip_crops(golden):
    numbers = golden("foreground_background")
    maps = upsample(numbers["cam"], (32, 32))
    mask = threshold(maps, numbers["delta"].item(), over_image=True)
    image, column = numbers["labels"].nonzero(as_tuple=True)
    regions = cut_stretched_regions(numbers["image"][image], maps[image, column], mask[image, column])
    torch.testing.assert_close(regions.foreground, numbers["pbip_foreground_minmax"], atol=1e-5, rtol=0)
    torch.testing.assert_close(regions.background, numbers["pbip_background_minmax"], atol=1e-5, rtol=0)


def test_without_threshold_the_map_alone_divides_the_image():
    images, maps = torch.rand(2, 3, 4, 4), torch.rand(2, 4, 4)
    regions = cut_regions(images, maps, None)
    torch.testing.assert_close(regions.foreground + regions.background, images)
