import math

import pytest
import torch

from histoproto.losses.classification import multi_level_bce


def test_undecided_scores_cost_log_two_per_unit_of_weight():
    scores = [torch.zeros(2, 3)] * 3
    loss = multi_level_bce(scores, torch.tensor([[1.0, 0, 1], [0, 0, 1]]), [0.0, 0.5, 1.0])
    assert loss.item() == pytest.approx(1.5 * math.log(2))


def test_a_level_of_weight_zero_gets_no_gradient():
    silent, heard = torch.randn(2, 3, requires_grad=True), torch.randn(2, 3, requires_grad=True)
    multi_level_bce([silent, heard], torch.ones(2, 3), [0.0, 1.0]).backward()
    assert silent.grad is None
    assert heard.grad.abs().sum() > 0
