import math

import pytest
import torch

from histoproto.losses.absent_classes import absent_classes
from histoproto.losses.cross_entropy import pixel_cross_entropy
from histoproto.losses.dice import soft_dice
from histoproto.losses.easy_pixels import easy_pixel_cross_entropy
from histoproto.losses.generalised_cross_entropy import generalised_cross_entropy
from histoproto.losses.symmetric_cross_entropy import symmetric_cross_entropy

LOSSES = [
    pixel_cross_entropy,
    soft_dice,
    easy_pixel_cross_entropy,
    symmetric_cross_entropy,
    generalised_cross_entropy,
]
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)


def pixels(*shares, mask):
    """One image of one row; each argument holds the soft-max shares of a pixel."""
    return torch.tensor(shares).log().T[None, :, None, :], torch.tensor(mask)[None, None]


TWO_CLASSES = pixels((0.8, 0.2), (0.4, 0.6), (0.5, 0.5), mask=[0, 0, 1])


def test_cross_entropy_by_hand():
    expected = -(math.log(0.8) + math.log(0.4) + math.log(0.5)) / 3
    assert float(pixel_cross_entropy(*TWO_CLASSES)) == pytest.approx(expected, rel=1e-5)


def test_dice_by_hand():
    first = 1 - (2 * (0.8 + 0.4) + 1) / ((0.8 + 0.4 + 0.5) + 2 + 1)
    second = 1 - (2 * 0.5 + 1) / ((0.2 + 0.6 + 0.5) + 1 + 1)
    assert float(soft_dice(*TWO_CLASSES)) == pytest.approx((first + second) / 2, rel=1e-5)


def test_easy_pixels_weigh_by_their_share_of_agreement():
    agreement = [0.8, 0.4, 0.5]  # exp(-cross-entropy) is the share of the labelled class
    mean = sum(agreement) / 3
    expected = sum(share / mean * -math.log(share) for share in agreement) / 3
    assert float(easy_pixel_cross_entropy(*TWO_CLASSES)) == pytest.approx(expected, rel=1e-5)


def test_easy_pixels_equal_the_released_formula():
    logits, masks = torch.randn(1, 3, 6, 5), torch.randint(0, 3, (1, 6, 5))
    losses = torch.nn.functional.cross_entropy(logits, masks, reduction="none")[0]
    weights = (-losses.flatten()).softmax(0)
    weights = weights / weights.mean()
    expected = (weights * losses.flatten()).mean()
    torch.testing.assert_close(easy_pixel_cross_entropy(logits, masks), expected)


def test_easy_pixels_leave_an_image_of_one_class_alone():
    logits, masks = pixels((0.8, 0.2), (0.4, 0.6), mask=[0, 0])
    torch.testing.assert_close(easy_pixel_cross_entropy(logits, masks), pixel_cross_entropy(logits, masks))


def test_symmetric_cross_entropy_by_hand():
    expected = sum(0.1 * -math.log(share) + 4 * (1 - share) for share in (0.8, 0.4, 0.5)) / 3
    assert float(symmetric_cross_entropy(*TWO_CLASSES)) == pytest.approx(expected, rel=1e-5)


def test_generalised_cross_entropy_lies_between_absolute_error_and_cross_entropy():
    error = sum(1 - share for share in (0.8, 0.4, 0.5)) / 3
    assert float(generalised_cross_entropy(*TWO_CLASSES, q=1.0)) == pytest.approx(error, rel=1e-5)
    almost = float(generalised_cross_entropy(*TWO_CLASSES, q=1e-3))
    assert almost == pytest.approx(float(pixel_cross_entropy(*TWO_CLASSES)), rel=1e-2)


@every_loss
def test_unknown_pixels_and_background_change_nothing(loss):
    logits, masks = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    masks[:, 0], masks[:, 1] = 255, 3
    before = loss(logits, masks)
    logits[:, :, :2] = 10 * torch.randn(2, 3, 2, 4)
    torch.testing.assert_close(loss(logits, masks), before)


@every_loss
def test_without_any_known_pixel_the_loss_is_zero_and_has_a_gradient(loss):
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    value = loss(logits, torch.full((1, 4, 4), 255))
    value.backward()
    assert float(value.detach()) == 0
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@every_loss
def test_a_perfect_answer_costs_nothing_and_a_wrong_one_costs_more(loss):
    masks = torch.randint(0, 3, (1, 8, 8))
    right = 40 * torch.nn.functional.one_hot(masks, 3).movedim(-1, 1).float()
    assert float(loss(right, masks)) == pytest.approx(0, abs=1e-4)
    # shares of one pixel in a thousand, as a wrong answer that is not beyond all doubt
    assert float(loss(-right / 6, masks)) > 0.5 * (loss is not easy_pixel_cross_entropy)


def test_a_wrong_label_pulls_less_where_the_loss_forgives():
    logits, masks = pixels((0.999, 0.001), (0.6, 0.4), mask=[1, 0])
    pulls = {}
    for loss in (pixel_cross_entropy, easy_pixel_cross_entropy, symmetric_cross_entropy, generalised_cross_entropy):
        given = logits.clone().requires_grad_()
        loss(given, masks).backward()
        slopes = given.grad.abs().sum(1).flatten()
        pulls[loss.__name__] = float(slopes[0] / slopes[1])
    usual = pulls.pop("pixel_cross_entropy")
    assert all(pull < usual for pull in pulls.values())


def test_classes_outside_the_label_cost_minus_log_of_the_share_inside():
    logits, _ = pixels((0.5, 0.3, 0.2), (0.1, 0.1, 0.8), mask=[0, 0])
    present = torch.tensor([[True, True, False]])
    tissue = torch.tensor([[[True, True]]])
    expected = -(math.log(0.8) + math.log(0.2)) / 2
    assert float(absent_classes(logits, present, tissue)) == pytest.approx(expected, rel=1e-5)
    alone = absent_classes(logits, present, torch.tensor([[[True, False]]]))
    assert float(alone) == pytest.approx(-math.log(0.8), rel=1e-5)


def test_an_image_without_any_label_does_not_count():
    logits = torch.randn(1, 3, 2, 2)
    nothing = absent_classes(logits, torch.zeros(1, 3, dtype=torch.bool), torch.ones(1, 2, 2, dtype=torch.bool))
    assert float(nothing) == 0
