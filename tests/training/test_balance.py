from collections import Counter

import pytest
import torch

from histoproto.data.patches import Patch
from histoproto.training.balance import repeat_factors
from histoproto.training.batches import Redrawn
from histoproto.training.sampler import BatchPlan


class Listed(torch.utils.data.Dataset):
    def __init__(self, patches):
        self.patches = patches

    def __len__(self):
        return len(self.patches)

    def __getitem__(self, index):
        return self.patches[index]


LABELS = [(1, 0)] * 12 + [(0, 1)] * 4


def test_a_class_in_a_quarter_of_the_patches_is_drawn_twice_as_often_at_threshold_one():
    assert repeat_factors(LABELS, 1.0) == pytest.approx([(16 / 12) ** 0.5] * 12 + [2.0] * 4)


def test_classes_above_the_threshold_are_left_alone():
    assert repeat_factors(LABELS, 0.25) == [1.0] * 16


def test_a_patch_follows_its_rarest_class_and_a_patch_without_any_counts_once():
    assert repeat_factors([(1, 1), (1, 0), (1, 0), (1, 0), (0, 0)], 0.8) == pytest.approx([2.0, 1, 1, 1, 1])


def test_draws_follow_the_weights_and_an_epoch_keeps_its_length():
    plan = BatchPlan(samples=16, batch=4, seed=3, weights=(1.0,) * 12 + (4.0,) * 4)

    drawn = Counter(ticket % 16 for epoch in range(50) for ticket in plan.order(epoch))

    assert drawn.total() == 50 * 16
    for patch in range(16):
        share = (4.0 if patch >= 12 else 1.0) / 28
        assert drawn[patch] == pytest.approx(50 * 16 * share, abs=50 * 0.5)


def test_a_patch_drawn_again_in_an_epoch_has_another_ticket():
    plan = BatchPlan(samples=16, batch=4, seed=3, weights=(1.0,) * 15 + (30.0,))

    order = plan.order(0)

    assert len(set(order)) == 16
    assert sum(ticket % 16 == 15 for ticket in order) > 8


def test_equal_weights_draw_every_patch_once():
    plan = BatchPlan(samples=50, batch=4, seed=1, weights=(0.3,) * 50)
    assert sorted(plan.order(2)) == list(range(50))


def test_a_ticket_gives_its_patch_under_the_tickets_index():
    image = torch.zeros(3, 2, 2, dtype=torch.uint8)
    redrawn = Redrawn(Listed([Patch(image, torch.ones(1), f"patch{index}.png", index) for index in range(5)]))

    assert (redrawn[3].index, redrawn[3].name) == (3, "patch3.png")
    assert (redrawn[13].index, redrawn[13].name) == (13, "patch3.png")
    assert len(redrawn) == 5
