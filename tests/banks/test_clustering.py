import numpy as np
import pytest

from histoproto.banks.clustering import best_number, cluster, scatter, unit_rows


def bundles(sizes, seed=0, spread=0.05, dim=8):
    """Unit rows in bundles around orthogonal directions, of very different lengths before."""
    generator = np.random.default_rng(seed)
    parts = [np.eye(dim)[place] + spread * generator.normal(size=(size, dim)) for place, size in enumerate(sizes)]
    rows = np.concatenate(parts) * generator.uniform(0.1, 100, size=(sum(sizes), 1))
    return unit_rows(rows.astype(np.float32)), np.repeat(np.arange(len(sizes)), sizes)


def test_bundles_of_directions_are_found_whatever_their_lengths_and_come_largest_first():
    rows, truth = bundles([5, 20, 10])
    found = cluster(rows, 3, seed=1)
    assert [np.unique(found.owner[truth == bundle]).tolist() for bundle in (1, 2, 0)] == [[0], [1], [2]]
    assert np.bincount(found.owner).tolist() == [20, 10, 5]


def test_centres_have_unit_length_and_point_at_their_bundle():
    rows, truth = bundles([12, 8])
    centres = cluster(rows, 2, seed=0).centres
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1, atol=1e-6)
    assert centres[0] @ rows[truth == 0].mean(0) > 0.9


def test_the_same_seed_gives_the_same_clusters():
    rows, _ = bundles([10, 10, 10], spread=0.6)
    assert (cluster(rows, 4, seed=5).owner == cluster(rows, 4, seed=5).owner).all()


@pytest.mark.parametrize("number", [2, 3, 4])
def test_the_silhouette_finds_the_number_of_bundles(number):
    rows, _ = bundles([15] * number)
    best, silhouettes = best_number(rows, seed=0)
    assert best == number
    assert set(silhouettes) == {2, 3, 4, 5}


def test_one_shapeless_cloud_stays_one_group():
    cloud = np.random.default_rng(0).normal(size=(200, 40)).astype(np.float32)
    assert best_number(unit_rows(cloud), seed=0)[0] == 1


def test_two_rows_are_too_few_to_compare_numbers():
    assert best_number(unit_rows(np.eye(2, dtype=np.float32)), seed=0) == (1, {})


def test_random_groups_are_of_equal_size_and_follow_the_seed():
    rows, _ = bundles([6, 6])
    assert np.bincount(scatter(rows, 3, seed=0).owner).tolist() == [4, 4, 4]
    assert (scatter(rows, 3, seed=0).owner != scatter(rows, 3, seed=1).owner).any()
