from dataclasses import replace

import numpy as np
import pytest
import torch

from histoproto.backbones.small_conv import small_conv
from histoproto.errors import ConfigError
from histoproto.inference.decision import decide, predicted_classes
from histoproto.inference.evidence import evidence_of
from histoproto.inference.gate import Gate, fit_gate
from histoproto.inference.settings import InferenceSettings
from histoproto.inference.views import averaged_class_maps
from histoproto.methods.lpd import LPD, LPDSettings

CLASSES = 3


@pytest.fixture
def method():
    backbone = small_conv(widths=(8, 8, 12, 12))[0]
    settings = LPDSettings(prototypes_per_class=2, prototype_dim=16, similarity_weight=0.0)
    method = LPD(backbone, None, CLASSES, settings)
    with torch.no_grad():  # a few batches, so that BatchNorm has statistics of its own
        for _ in range(3):
            method.training_step(torch.rand(4, 3, 64, 64), torch.ones(4, CLASSES), 0)
    return method.eval()


def image(height, width):
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("views", ["none", "d4"])
def test_prediction_by_tiles_equals_prediction_in_one_piece(method, views):
    rgb = image(600, 530)
    whole = InferenceSettings(views=views, tile_px=1024)
    tiled = replace(whole, tile_px=448, overlap_px=320)
    one_piece = evidence_of(method, rgb, 64, whole)
    by_tiles = evidence_of(method, rgb, 64, tiled)
    torch.testing.assert_close(by_tiles.maps, one_piece.maps, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(by_tiles.scores, one_piece.scores, atol=1e-4, rtol=1e-4)


def test_windows_of_the_training_patch_s_size_show_the_network_no_more_than_training_did(method):
    rgb = image(160, 130)
    changed = rgb.copy()
    changed[:, 96:] = 0  # more than a window away from the left columns
    windows = InferenceSettings(views="none", context="patch")
    left, left_changed = (evidence_of(method, pixels, 32, windows).maps[..., :32] for pixels in (rgb, changed))
    assert torch.equal(left, left_changed)
    whole = InferenceSettings(views="none")
    seen, seen_changed = (evidence_of(method, pixels, 32, whole).maps[..., :32] for pixels in (rgb, changed))
    assert not torch.equal(seen, seen_changed)


def test_a_patch_looks_the_same_alone_whatever_the_context(method):
    rgb = image(64, 64)
    patch, whole = (evidence_of(method, rgb, 64, InferenceSettings(context=kind)) for kind in ("patch", "whole"))
    assert torch.equal(patch.maps, whole.maps)


def test_overlapping_windows_are_averaged(method):
    rgb = image(64, 96)
    settings = InferenceSettings(views="none", context="patch")
    maps = evidence_of(method, rgb, 64, settings).maps
    left, right = (evidence_of(method, rgb[:, at : at + 64], 64, settings).maps for at in (0, 32))
    torch.testing.assert_close(maps[..., :32], left[..., :32])
    torch.testing.assert_close(maps[..., 32:64], (left[..., 32:] + right[..., :32]) / 2)


def test_windows_that_overlap_by_three_quarters_are_four_to_a_pixel_along_each_side(method):
    rgb = image(64, 160)
    settings = InferenceSettings(views="none", context="patch", window_overlap=0.75)
    maps = evidence_of(method, rgb, 64, settings).maps
    starts = (0, 16, 32, 48, 64, 80, 96)
    windows = {at: evidence_of(method, rgb[:, at : at + 64], 64, settings).maps for at in starts}
    expected = sum(windows[at][..., 64 - at : 80 - at] for at in (16, 32, 48, 64)) / 4  # columns 64 to 80
    torch.testing.assert_close(maps[..., 64:80], expected)


@pytest.mark.parametrize("overlap", [-0.1, 1.0])
def test_windows_neither_stand_still_nor_leave_gaps(overlap):
    with pytest.raises(ConfigError, match="at least 0 and below 1"):
        InferenceSettings(window_overlap=overlap)


def test_averaging_over_the_square_s_symmetries_makes_the_map_symmetric(method):
    images = torch.rand(2, 3, 64, 64)
    maps = averaged_class_maps(method, images, "d4").maps
    turned = averaged_class_maps(method, images.rot90(1, (-2, -1)), "d4").maps
    torch.testing.assert_close(turned, maps.rot90(1, (-2, -1)), atol=1e-4, rtol=1e-4)


def test_views_of_an_oblong_image_come_back_in_its_own_shape(method):
    images = torch.rand(1, 3, 64, 96)
    plain = method.class_maps(images).maps
    assert averaged_class_maps(method, images, "d4").maps.shape == plain.shape
    assert averaged_class_maps(method, images, "released").maps.shape == plain.shape


def test_the_evidence_of_a_patch_does_not_depend_on_its_size_being_a_multiple_of_the_stride(method):
    evidence = evidence_of(method, image(45, 70), 64, InferenceSettings())
    assert evidence.maps.shape == evidence.scores.shape == (CLASSES, 45, 70)


def test_the_score_of_a_patch_is_its_pooled_score_everywhere(method):
    evidence = evidence_of(method, image(64, 64), 64, InferenceSettings())
    assert (evidence.scores - evidence.scores[:, :1, :1]).abs().max() < 1e-4


class LabelledPatch:
    def __init__(self, image, labels):
        self.image, self.labels = image, labels


def test_the_gate_keeps_nearly_all_labelled_patches_of_a_class(method):
    patches = [
        LabelledPatch(torch.randint(0, 255, (3, 64, 64), dtype=torch.uint8), torch.tensor([1.0, 0.0, 1.0]))
        for _ in range(20)
    ]
    gate = fit_gate(method, patches, InferenceSettings(views="none"))
    images = torch.stack([patch.image for patch in patches]).float() / 255
    scores = averaged_class_maps(method, images, "none").scores
    kept = (scores[:, 0] >= gate.thresholds[0]).float().mean()
    assert gate.window_px == 64
    assert kept >= 0.95
    assert gate.thresholds[1] == 0.0


def test_a_class_outside_the_gate_never_appears(method):
    evidence = evidence_of(method, image(96, 96), 64, InferenceSettings())
    strongest = int(evidence.scores[:, 0, 0].argmax())
    shut = Gate(tuple(float("inf") for _ in range(CLASSES)), window_px=64)
    allowed = predicted_classes(evidence, shut)
    mask = decide(evidence.maps, allowed).mask
    winners = evidence.scores.argmax(0)
    assert (mask.long() == winners).all()
    assert strongest in mask.unique().tolist()


def test_confidence_is_the_winner_s_share_and_zero_where_undecided():
    maps = torch.tensor([[[0.0, 5.0]], [[0.0, 0.0]]])
    present = torch.tensor([[[True, False]], [[True, False]]])
    decision = decide(maps, present)
    assert decision.mask.tolist() == [[255, 255]]
    assert decision.confidence.tolist() == [[0.0, 0.0]]
    single = decide(torch.tensor([[[0.0]], [[1.0]]]), torch.tensor([True, True]))
    assert single.confidence.item() == pytest.approx(1 / (1 + torch.e**-1), rel=1e-4)


def test_half_precision_decides_nearly_as_single_does(method):
    rgb = image(160, 130)
    single, half = (
        evidence_of(method, rgb, 64, InferenceSettings(precision=precision)) for precision in ("fp32", "bf16")
    )
    assert not torch.equal(half.maps, single.maps)
    assert half.maps.dtype == torch.float32
    sure = single.maps.sort(0).values.diff(dim=0)[-1] > 0.05 * single.maps.std()
    assert (half.maps.argmax(0) == single.maps.argmax(0))[sure].float().mean() > 0.99
