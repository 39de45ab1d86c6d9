import math

import pytest
import torch

from histoproto.losses.infonce import similarity_logits
from histoproto.losses.pbip import printed_background, printed_foreground, released_background, released_foreground

OWN = torch.tensor([[True, False, False, False]])


@pytest.mark.parametrize(("suffix", "temperature"), [("", 0.07), ("_t1", 1.0)])
@pytest.mark.parametrize("side", ["fg", "bg"])
def test_equals_the_released_pbip_ratios(golden, side, suffix, temperature):
    numbers = golden("contrastive")
    logits = torch.cat(
        [
            similarity_logits(feature[None], torch.cat([own[None], others]), temperature)
            for feature, own, others in zip(numbers[side], numbers["positive"], numbers["negatives"], strict=True)
        ]
    )
    loss = (released_foreground if side == "fg" else released_background)(logits, OWN.expand(len(logits), -1))
    torch.testing.assert_close(loss, numbers[f"pbip_{side}{suffix}"], atol=1e-4, rtol=1e-5)


def test_the_released_loss_is_one_ratio_over_the_batch_and_so_not_the_mean_over_samples():
    logits, own = torch.tensor([[5.0, 0.0], [0.0, 3.0]]), torch.tensor([[True, False], [True, False]])
    expected = -math.log((math.exp(5) + 1) / (math.exp(5) + 1 + 1 + math.exp(3)))
    assert released_foreground(logits, own).item() == pytest.approx(expected, abs=1e-6)


def test_the_printed_foreground_loss_by_hand():
    cosines, own = torch.tensor([[0.9, 0.8, 0.1, 0.3, 0.2]]), torch.tensor([[True, True, False, False, False]])
    inside, outside = math.exp(1.7 / 0.5), math.exp(0.6 / 0.5)
    expected = -math.log(inside / (inside + outside))
    assert printed_foreground(cosines, own, 0.5).item() == pytest.approx(expected, abs=1e-6)


def test_the_printed_background_loss_by_hand():
    cosines, own = torch.tensor([[0.9, 0.8, 0.1, 0.3, 0.2]]), torch.tensor([[True, True, False, False, False]])
    matching, straying = math.exp(0.2 / 0.5), math.exp(0.85 / 0.5)
    expected = -math.log(matching / (matching + straying))
    assert printed_background(cosines, own, 0.5).item() == pytest.approx(expected, abs=1e-6)


def test_a_single_class_has_no_background_to_match():
    cosines, own = torch.tensor([[0.5, 0.4]], requires_grad=True), torch.ones(1, 2, dtype=torch.bool)
    loss = printed_background(cosines, own, 1.0)
    loss.sum().backward()
    assert loss.item() == 0
    assert cosines.grad.isfinite().all()
    assert released_background(torch.tensor([[3.0]]), torch.tensor([[True]])) == 0


def test_large_logits_stay_finite():
    logits = torch.tensor([[1000.0, -1000.0], [-1000.0, 1000.0]])
    own = torch.eye(2, dtype=torch.bool)
    assert released_foreground(logits, own).item() == pytest.approx(0, abs=1e-6)
    assert released_background(logits, own).item() == pytest.approx(2000, rel=1e-6)
