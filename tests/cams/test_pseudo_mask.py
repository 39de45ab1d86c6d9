import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from histoproto.cams.background import unlikely_background, white_background
from histoproto.cams.fusion import fuse_levels
from histoproto.cams.pseudo_mask import UNDECIDED, pseudo_mask


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), classes=st.integers(1, 5))
def test_a_class_outside_the_gate_is_never_predicted(seed, classes):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(3, classes, 6, 6, generator=generator)
    present = torch.rand(3, classes, generator=generator) > 0.5
    for row, mask in zip(present, pseudo_mask(maps, present), strict=True):
        allowed = {index for index in range(classes) if row[index]} | ({UNDECIDED} if not row.any() else set())
        assert set(mask.unique().tolist()) <= allowed


def test_maps_that_are_zero_everywhere_do_not_become_class_zero_by_a_tie():
    mask = pseudo_mask(torch.zeros(1, 3, 4, 4), torch.ones(1, 3, dtype=torch.bool))
    assert (mask == UNDECIDED).all()


def test_negative_evidence_of_the_only_present_class_still_wins():
    present = torch.tensor([[False, True]])
    assert (pseudo_mask(torch.full((1, 2, 3, 3), -5.0), present) == 1).all()


def test_presence_may_differ_from_pixel_to_pixel():
    present = torch.zeros(1, 2, 1, 2, dtype=torch.bool)
    present[0, 0, 0, 0] = present[0, 1, 0, 1] = True
    assert pseudo_mask(torch.randn(1, 2, 1, 2), present).tolist() == [[[0, 1]]]


def test_background_takes_the_index_after_the_last_class():
    background = torch.tensor([[[True, False]]])
    maps = torch.tensor([[[[1.0, 1.0]], [[0.0, 0.0]]]])
    assert pseudo_mask(maps, torch.ones(1, 2, dtype=torch.bool), background).tolist() == [[[2, 0]]]


def test_white_is_background_and_tissue_is_not():
    images = torch.ones(1, 3, 20, 20) * 0.95
    images[:, :, :, :10] = torch.tensor([0.8, 0.5, 0.7])[None, :, None, None]
    background = white_background(images)
    assert background[0, :, 15:].all()
    assert not background[0, :, :5].any()


def test_background_is_likely_where_no_class_is():
    scores = torch.tensor([[[[0.0, 1.0]], [[0.0, 0.2]]]])
    torch.testing.assert_close(unlikely_background(scores), torch.tensor([[[1.0, 0.0]]]))


def test_fusion_is_the_weighted_mean_and_leaves_out_levels_of_weight_zero():
    levels = [torch.full((1, 1, 8, 8), 9.0), torch.full((1, 1, 4, 4), 1.0), torch.full((1, 1, 2, 2), 4.0)]
    fused = fuse_levels(levels, [0.0, 1.0, 2.0])
    torch.testing.assert_close(fused, torch.full((1, 1, 4, 4), 3.0))
