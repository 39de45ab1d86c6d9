import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from histoproto.metrics.boundary import (
    BoundaryCounts,
    band_width_px,
    boundary_band,
    boundary_counts,
    boundary_iou,
)

from .brute_force import band

GOLDEN = Path(__file__).parents[1] / "golden" / "boundary_iou.safetensors"


def test_the_reference_implementations_figures_come_out_exactly():
    golden = load_file(GOLDEN)
    ratio = float(golden["dilation_ratio"])
    counts = [
        boundary_counts(prediction, target, 5, ratio)
        for prediction, target in zip(golden["prediction"], golden["target"], strict=True)
    ]
    pooled = BoundaryCounts(*(torch.stack(field).sum(0) for field in zip(*counts, strict=True)))
    assert torch.equal(boundary_iou(pooled), golden["boundary_iou_pooled"])


@pytest.mark.parametrize(("size", "ratio", "width"), [(224, 0.02, 6), (224, 0.005, 2), (20, 0.005, 1)])
def test_the_band_of_a_patch_has_the_published_width(size, ratio, width):
    assert band_width_px(size, size, ratio) == width


@pytest.mark.parametrize("width", [1, 2, 5, 40])
def test_one_comparison_gives_the_bands_of_all_classes(width):
    coarse = torch.randint(0, 4, (4, 5), generator=torch.manual_seed(width)).to(torch.uint8)
    mask = coarse.repeat_interleave(8, 0).repeat_interleave(7, 1)
    found = boundary_band(mask, width)
    for value in range(4):
        points = {(y, x) for y, x in (mask == value).nonzero().tolist()}
        expected = band(points, width)
        assert {(y, x) for y, x in (found & (mask == value)).nonzero().tolist()} == expected


def test_a_shifted_border_is_punished_harder_by_the_narrow_band():
    target = torch.zeros(224, 224, dtype=torch.uint8)
    target[:, 112:] = 1
    shifted = target.roll(3, 1)
    shifted[:, :3] = 0
    wide, narrow = (boundary_iou(boundary_counts(shifted, target, 2, ratio)) for ratio in (0.02, 0.005))
    assert (narrow < wide).all()


def test_a_patch_takes_less_than_ten_milliseconds_of_one_core():
    prediction, target = torch.randint(0, 4, (2, 224, 224)).to(torch.uint8)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds = []
    for _ in range(7):
        start = time.thread_time()
        boundary_counts(prediction, target, 4, 0.02)
        seconds.append(time.thread_time() - start)
    torch.set_num_threads(threads)
    assert min(seconds) < 0.01
