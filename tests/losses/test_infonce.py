import math

import pytest
import torch

from histoproto.losses.infonce import infonce, similarity_logits


@pytest.mark.parametrize(("suffix", "temperature"), [("", 0.07), ("_t1", 1.0)])
@pytest.mark.parametrize("side", ["fg", "bg"])
def test_equals_the_released_lpd_terms(golden, side, suffix, temperature):
    numbers = golden("contrastive")
    rows = []
    for feature, own, others in zip(numbers[side], numbers["positive"], numbers["negatives"], strict=True):
        logits = similarity_logits(feature[None], torch.cat([own[None], others]), temperature)
        positive = torch.tensor([[True, False, False, False]])
        rows.append(infonce(logits, positive if side == "fg" else ~positive))
    torch.testing.assert_close(torch.cat(rows).mean(), numbers[f"lpd_{side}{suffix}"].squeeze(), atol=1e-4, rtol=1e-5)


def test_orthogonal_prototypes_give_log_one_plus_negatives_over_e():
    prototypes = torch.eye(4)
    logits = similarity_logits(prototypes[:1], prototypes, temperature=1.0)
    positive = torch.tensor([[True, False, False, False]])
    assert infonce(logits, positive).item() == pytest.approx(math.log(1 + 3 / math.e), abs=1e-6)


def test_everyone_positive_costs_nothing():
    assert infonce(torch.randn(3, 5), torch.ones(3, 5, dtype=torch.bool)).abs().max() < 1e-6


def test_a_sample_without_positive_gives_zero_and_no_nan_gradient():
    logits = torch.randn(2, 4, requires_grad=True)
    positive = torch.tensor([[True, False, False, False], [False] * 4])
    loss = infonce(logits, positive)
    loss.sum().backward()
    assert loss[1] == 0
    assert logits.grad.isfinite().all()
    assert (logits.grad[1] == 0).all()


def test_leaving_the_positive_out_of_the_denominator_would_be_noticed():
    logits = torch.tensor([[5.0, -5.0]])
    loss = infonce(logits, torch.tensor([[True, False]]))
    assert loss.item() == pytest.approx(math.log1p(math.exp(-10)), abs=1e-6)
    assert (infonce(torch.randn(50, 6), torch.eye(6, dtype=torch.bool).repeat(9, 1)[:50]) >= 0).all()
