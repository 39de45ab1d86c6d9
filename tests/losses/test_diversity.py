import math

import pytest
import torch

from histoproto.losses.diversity import double_softmax_similarity, jeffreys_divergence, jeffreys_similarity

EVERYWHERE = torch.ones(1, 1, 2, dtype=torch.bool)


def test_identical_prototypes_have_similarity_one():
    activations = torch.randn(1, 1, 1, 2).expand(1, 3, 1, 2)
    assert jeffreys_similarity(activations, EVERYWHERE, 0.07).item() == pytest.approx(1.0)


def test_two_pixels_by_hand():
    # attention (3/4, 1/4) against (1/4, 3/4): D_J = 1/2 (3/4 - 1/4) ln 3 * 2 = 1/2 ln 3
    activations = torch.tensor([[[[math.log(3), 0.0]], [[0.0, math.log(3)]]]])
    divergence = jeffreys_divergence(activations, EVERYWHERE, temperature=1.0)
    assert divergence.item() == pytest.approx(0.5 * math.log(3), abs=1e-6)
    assert jeffreys_similarity(activations, EVERYWHERE, 1.0).item() == pytest.approx(3**-0.5, abs=1e-6)


def test_pixels_outside_the_region_do_not_count():
    activations = torch.randn(2, 3, 4, 4)
    region = torch.zeros(2, 4, 4, dtype=torch.bool)
    region[:, 1:3] = True
    changed = activations.clone()
    changed[:, :, 0] = 100.0
    first = jeffreys_similarity(activations, region, 0.5)
    torch.testing.assert_close(jeffreys_similarity(changed, region, 0.5), first)


def test_one_prototype_or_an_empty_region_gives_zero_with_finite_gradient():
    assert jeffreys_similarity(torch.randn(2, 1, 3, 3), torch.ones(2, 3, 3, dtype=torch.bool), 0.07).sum() == 0
    activations = torch.randn(1, 3, 3, 3, requires_grad=True)
    value = jeffreys_similarity(activations, torch.zeros(1, 3, 3, dtype=torch.bool), 0.07)
    value.sum().backward()
    assert value.item() == 0
    assert activations.grad.isfinite().all()


def test_agrees_with_kullback_leibler_computed_pair_by_pair():
    activations, region = torch.randn(1, 4, 5, 5), torch.rand(1, 5, 5) > 0.3
    attention = (activations[0][:, region[0]] / 0.2).softmax(1)
    pairs = [
        0.5 * ((u * (u / v).log()).sum() + (v * (v / u).log()).sum())
        for i, u in enumerate(attention)
        for v in attention[i + 1 :]
    ]
    torch.testing.assert_close(jeffreys_divergence(activations, region, 0.2)[0], torch.stack(pairs))


def test_the_released_double_softmax_hardly_feels_its_prototypes():
    pixels, prototypes = torch.randn(49, 64), torch.randn(3, 64, requires_grad=True)
    released = double_softmax_similarity(pixels, prototypes)
    (released_gradient,) = torch.autograd.grad(released, prototypes)
    cosines = torch.nn.functional.normalize(prototypes, dim=1) @ torch.nn.functional.normalize(pixels, dim=1).T
    repaired = jeffreys_similarity(cosines.reshape(1, 3, 7, 7), torch.ones(1, 7, 7, dtype=torch.bool), 0.07)
    (repaired_gradient,) = torch.autograd.grad(repaired.sum(), prototypes)
    assert released.item() > 0.9999
    assert repaired_gradient.norm() > 1000 * released_gradient.norm()
