import pytest
import torch

from histoproto.cams.gate import allowed_classes, local_scores, sensitive_thresholds


def test_the_score_of_an_image_no_larger_than_the_window_is_its_mean():
    maps = torch.randn(2, 3, 5, 7)
    expected = maps.mean((-2, -1), keepdim=True).expand_as(maps)
    torch.testing.assert_close(local_scores(maps, 9), expected)


@pytest.mark.parametrize("window_px", [1, 2, 3, 4])
def test_inside_the_score_is_the_mean_of_the_window_around_the_pixel(window_px):
    maps = torch.randn(1, 1, 9, 8)
    scores = local_scores(maps, window_px)
    before = (window_px - 1) // 2
    y, x = 4, 5
    window = maps[..., y - before : y - before + window_px, x - before : x - before + window_px]
    torch.testing.assert_close(scores[0, 0, y, x], window.mean())


def test_a_small_tumour_in_a_large_image_passes_the_local_gate_but_drowns_in_the_image_mean():
    maps = torch.full((1, 1, 60, 60), -2.0)
    maps[..., 20:30, 20:30] = 3.0
    assert maps.mean() < 0
    assert (local_scores(maps, 10) > 0).any()


def test_the_strongest_class_is_allowed_even_below_its_threshold():
    allowed = allowed_classes(torch.tensor([[-5.0, -4.0, -9.0]]), torch.zeros(3))
    assert allowed.tolist() == [[False, True, False]]


@pytest.mark.parametrize("patches", [1, 3, 5, 20, 21, 22, 41, 50])
def test_at_least_the_stated_share_is_kept_however_few_the_patches(patches):
    scores = torch.linspace(-9, -1, patches)[:, None]
    threshold = sensitive_thresholds(scores, torch.ones(patches, 1), 0.95)
    assert (scores >= threshold).float().mean().item() >= 0.95


def test_thresholds_keep_the_stated_share_of_positives_and_never_exceed_one_half():
    scores = torch.stack([torch.linspace(-10, -1, 100), torch.linspace(1, 9, 100), torch.randn(100)], dim=1)
    labels = torch.ones(100, 3)
    labels[:, 2] = 0
    thresholds = sensitive_thresholds(scores, labels, 0.95)
    assert (scores[:, 0] >= thresholds[0]).float().mean().item() == pytest.approx(0.95, abs=0.011)
    assert thresholds[1:].tolist() == [0.0, 0.0]
