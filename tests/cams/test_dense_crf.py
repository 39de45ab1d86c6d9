import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from histoproto.cams.dense_crf import DenseCRF, DenseCRFSettings, dense_crf
from histoproto.cams.permutohedral import Lattice


def test_posteriors_equal_those_of_the_compiled_library(golden):
    known = golden("dense_crf")
    for image, probabilities, posterior, labels in zip(
        known["image"], known["probabilities"], known["posterior"], known["labels"], strict=True
    ):
        found = DenseCRF(image.permute(2, 0, 1).float() / 255, DenseCRFSettings())(probabilities)
        assert (found.argmax(0) == labels).float().mean() >= 0.995
        torch.testing.assert_close(found, posterior.float(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("dim", [1, 2, 3, 5])
def test_the_lattice_blurs_like_a_gaussian(dim):
    random = torch.Generator().manual_seed(dim)
    points = 2 * torch.rand(1500, dim, generator=random)
    values = torch.rand(1500, 2, generator=random)
    exact = (-0.5 * torch.cdist(points, points).square()).exp() @ values
    found = Lattice(points).filter(values)
    ratio = found / exact  # the lattice's constant factor is divided out by whoever normalises
    assert float(ratio.std() / ratio.mean()) < 0.05


@settings(max_examples=20, deadline=None)
@given(dim=st.integers(1, 5), seed=st.integers(0, 1000))
def test_filtering_is_linear(dim, seed):
    random = torch.Generator().manual_seed(seed)
    lattice = Lattice(5 * torch.randn(60, dim, generator=random))
    first, second = torch.rand(2, 60, 1, generator=random)
    together = lattice.filter(2 * first + second)
    torch.testing.assert_close(together, 2 * lattice.filter(first) + lattice.filter(second), atol=1e-4, rtol=1e-4)


def test_points_too_far_apart_for_the_keys_are_refused():
    with pytest.raises(ValueError, match="too far apart"):
        Lattice(torch.tensor([[0.0] * 5, [50000.0] * 5]))


def test_equal_points_share_their_value_and_normalised_rows_keep_it():
    lattice = Lattice(torch.zeros(4, 3)).normalised()
    found = lattice.filter(torch.tensor([[4.0], [0.0], [0.0], [8.0]]))
    torch.testing.assert_close(found, torch.full((4, 1), 3.0))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_batch_gives_what_its_photographs_give_one_by_one(threads):
    random = torch.Generator().manual_seed(0)
    images, probabilities = torch.rand(5, 3, 30, 41, generator=random), torch.rand(5, 4, 30, 41, generator=random)
    probabilities = probabilities.softmax(1)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        together = dense_crf(images, probabilities, DenseCRFSettings())
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for image, of_image, found in zip(images, probabilities, together, strict=True):
        torch.testing.assert_close(found, DenseCRF(image, DenseCRFSettings())(of_image), atol=1e-5, rtol=0)


def test_labels_follow_the_edges_of_the_photograph():
    image = torch.zeros(3, 40, 40)
    image[:, :, 20:] = 0.8
    truth = torch.zeros(40, 40, dtype=torch.long)
    truth[:, 20:] = 1
    blurred = torch.linspace(0.7, 0.3, 40).roll(4).expand(40, 40)  # the border lies four pixels off
    found = DenseCRF(image, DenseCRFSettings())(torch.stack([blurred, 1 - blurred]))
    before = (blurred < 0.5).long()
    assert (before != truth).sum() >= 100
    assert (found.argmax(0) != truth).sum() == 0


def test_without_neighbours_nothing_changes():
    probabilities = torch.rand(3, 16, 20).softmax(0)
    alone = DenseCRFSettings(smooth_weight=0.0, edge_weight=0.0)
    torch.testing.assert_close(DenseCRF(torch.rand(3, 16, 20), alone)(probabilities), probabilities)


def test_a_field_made_in_inference_mode_leaves_nothing_that_gradients_cannot_pass():
    image, probabilities = torch.rand(3, 18, 22), torch.rand(2, 18, 22).softmax(0)
    with torch.inference_mode():
        DenseCRF(image, DenseCRFSettings())(probabilities)
    probabilities.requires_grad_()
    DenseCRF(image, DenseCRFSettings())(probabilities).sum().backward()
    assert probabilities.grad is not None
