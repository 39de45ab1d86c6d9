import pytest
import torch

from histoproto.cams.random_walk import RandomWalk, RandomWalkSettings

FINE = RandomWalkSettings(grid_px=1, radius=2, levels=1, sharpness=4.0, edge_colour=30.0, steps=1)


def transition(walk, height, width):
    """Return T row by row: a walk of one step from each pixel alone gives a column."""
    places = torch.eye(height * width).reshape(-1, height, width)
    return walk(places).flatten(1).T


def test_rows_of_the_transition_sum_to_one():
    walk = RandomWalk(torch.rand(3, 7, 5), [torch.randn(6, 4, 3)], FINE)
    rows = transition(walk, 7, 5)
    assert (rows >= 0).all()
    torch.testing.assert_close(rows.sum(1), torch.ones(35))


def test_the_transition_is_the_papers_formula_written_out():
    image, features = torch.rand(3, 4, 5), torch.randn(6, 4, 5)
    found = transition(RandomWalk(image, [features], FINE), 4, 5)
    places = torch.cartesian_prod(torch.arange(4.0), torch.arange(5.0))
    flat, colours = torch.nn.functional.normalize(features.flatten(1), dim=0), 255 * image.flatten(1)
    known = torch.zeros(20, 20)
    for i in range(20):
        for j in range(20):
            if (places[i] - places[j]).norm() <= 2:
                cosine = float(flat[:, i] @ flat[:, j])
                difference = float((colours[:, i] - colours[:, j]).square().sum())
                known[i, j] = max(cosine, 0.0) ** 4 * torch.tensor(-difference / (2 * 30.0**2)).exp()
    torch.testing.assert_close(found, known / known.sum(1, keepdim=True), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("grid_px", [1, 2, 3])
def test_constant_shares_stay_constant(grid_px):
    settings = RandomWalkSettings(grid_px=grid_px)
    walk = RandomWalk(torch.rand(3, 17, 23), [torch.rand(4, 5, 6), torch.rand(8, 3, 3)], settings)
    shares = torch.tensor([0.2, 0.5, 0.3])[:, None, None].expand(3, 17, 23)
    torch.testing.assert_close(walk(shares), shares)


def test_shares_still_sum_to_one():
    walk = RandomWalk(torch.rand(3, 17, 23), [torch.rand(4, 5, 6)], RandomWalkSettings())
    torch.testing.assert_close(walk(torch.randn(4, 17, 23).softmax(0)).sum(0), torch.ones(17, 23))


def blurred_border(columns=40, edge=20, shift=4):
    """Return shares of two classes whose border lies some pixels beside the edge."""
    first = torch.linspace(0.8, 0.2, columns).roll(shift).expand(columns, columns)
    truth = (torch.arange(columns) >= edge).expand(columns, columns)
    return torch.stack([first, 1 - first]), truth


def test_a_blurred_border_snaps_to_the_edge_of_the_photograph():
    shares, truth = blurred_border()
    image = torch.zeros(3, 40, 40)
    image[:, :, 20:] = 0.8
    assert (shares.argmax(0) != truth).sum() >= 100
    walk = RandomWalk(image, [torch.ones(4, 10, 10)], RandomWalkSettings(steps=60))
    assert torch.equal(walk(shares).argmax(0).bool(), truth)


def test_a_blurred_border_snaps_to_an_edge_that_only_the_features_see():
    shares, truth = blurred_border()
    features = torch.zeros(2, 40, 40)
    features[0, :, :20] = features[1, :, 20:] = 1
    walk = RandomWalk(torch.full((3, 40, 40), 0.5), [features], RandomWalkSettings(steps=60))
    assert torch.equal(walk(shares).argmax(0).bool(), truth)


def test_many_channels_are_compared_like_few():
    image, features = torch.rand(3, 6, 6), torch.randn(5, 6, 6)
    repeated = features.repeat(40, 1, 1)  # 200 channels in several portions, the same cosines
    shares = torch.rand(2, 6, 6).softmax(0)
    torch.testing.assert_close(RandomWalk(image, [repeated], FINE)(shares), RandomWalk(image, [features], FINE)(shares))


def test_an_image_smaller_than_the_radius_is_walked():
    walk = RandomWalk(torch.rand(3, 2, 1), [torch.rand(4, 1, 1)], RandomWalkSettings(grid_px=1))
    torch.testing.assert_close(walk(torch.rand(2, 2, 1).softmax(0)).sum(0), torch.ones(2, 1))
