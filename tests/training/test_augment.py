import pytest
import torch

from histoproto.training.augment import draw, flip, vary, vary_stain
from histoproto.training.seeds import derive_seed, uniform_draws
from histoproto.training.settings import AugmentSettings

STRONG = AugmentSettings(flips=True, stain_sigma=0.2, stain_bias=0.1)


def patches(count=16, height=6, width=6):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(3))


def same_patch(count, side=4):
    return patches(1, side, side).expand(count, -1, -1, -1)


def test_nothing_set_changes_nothing():
    images = patches()
    assert vary(images, draw(torch.arange(16), seed=1, epoch=0), AugmentSettings()) is images


def test_stain_of_factor_one_and_offset_zero_changes_no_bit():
    images = patches()
    images[0, :, 0, 0] = 0.0
    assert torch.equal(vary_stain(images, torch.ones(16, 3), torch.zeros(16, 3)), images)


def test_each_of_the_eight_symmetries_occurs_about_equally_often():
    count = 1600
    image = same_patch(1)[0]
    turned = [image.rot90(turns, (-2, -1)) for turns in range(4)]
    symmetries = torch.stack([*turned, *(one.flip(-1) for one in turned)])
    varied = vary(same_patch(count), draw(torch.arange(count), seed=1, epoch=0), AugmentSettings(flips=True))
    equal = (varied[:, None] == symmetries[None]).flatten(2).all(-1)
    assert (equal.sum(1) == 1).all()
    assert ((equal.sum(0) - count / 8).abs() < 5 * (count / 8) ** 0.5).all()


def test_a_patch_that_is_no_square_is_mirrored_but_not_transposed():
    images = patches(64, 4, 6)
    varied = vary(images, draw(torch.arange(64), seed=1, epoch=0), AugmentSettings(flips=True))
    symmetries = torch.stack([images, images.flip(-1), images.flip(-2), images.flip((-1, -2))], 1)
    equal = (varied[:, None] == symmetries).flatten(2).all(-1)
    assert (equal.sum(1) == 1).all()
    assert (equal.sum(0) > 0).all()


def test_the_same_patch_is_varied_alike_in_any_batch():
    images, indices = patches(), torch.arange(100, 116)
    whole = vary(images, draw(indices, seed=1, epoch=2), STRONG)
    order = torch.tensor([7, 3, 11])
    torch.testing.assert_close(vary(images[order], draw(indices[order], seed=1, epoch=2), STRONG), whole[order])


@pytest.mark.parametrize(("seed", "epoch"), [(2, 0), (1, 1)])
def test_another_seed_or_epoch_varies_anew(seed, epoch):
    images, indices = patches(), torch.arange(16)
    first = vary(images, draw(indices, seed=1, epoch=0), STRONG)
    assert not torch.allclose(vary(images, draw(indices, seed=seed, epoch=epoch), STRONG), first, atol=0.01)


def test_the_result_stays_in_range_for_any_colour():
    extremes = torch.cat([torch.zeros(8, 3, 4, 4), torch.ones(8, 3, 4, 4)])
    violent = AugmentSettings(stain_sigma=0.9, stain_bias=0.9)
    varied = vary(extremes, draw(torch.arange(16), seed=1, epoch=0), violent)
    assert varied.isfinite().all()
    assert varied.min() >= 0
    assert varied.max() <= 1


def test_doubling_haematoxylin_doubles_the_optical_density_of_a_pure_haematoxylin_pixel():
    colour = torch.nn.functional.normalize(torch.tensor([0.650, 0.704, 0.286]), dim=0)
    pixel = (-0.5 * colour).exp()[None, :, None, None]
    doubled = vary_stain(pixel, torch.tensor([[2.0, 1.0, 1.0]]), torch.zeros(1, 3))
    torch.testing.assert_close(doubled.flatten(), (-1.0 * colour).exp())
    eosin_only = vary_stain(pixel, torch.tensor([[1.0, 2.0, 1.0]]), torch.zeros(1, 3))
    torch.testing.assert_close(eosin_only, pixel)


def test_an_offset_adds_that_much_stain_to_white():
    colour = torch.nn.functional.normalize(torch.tensor([0.072, 0.990, 0.105]), dim=0)
    stained = vary_stain(torch.ones(1, 3, 1, 1), torch.ones(1, 3), torch.tensor([[0.0, 0.3, 0.0]]))
    torch.testing.assert_close(stained.flatten(), (-0.3 * colour).exp())


def test_flip_by_hand():
    image = torch.arange(4.0).reshape(1, 1, 2, 2).expand(1, 3, 2, 2)
    left_right = flip(image, torch.tensor([[True, False, False]]))
    assert left_right[0, 0].tolist() == [[1, 0], [3, 2]]
    turned = flip(image, torch.tensor([[True, False, True]]))
    assert torch.equal(turned, image.rot90(1, (-2, -1)))


def test_uniform_draws_are_uniform_and_independent():
    draws = uniform_draws(derive_seed(5), torch.arange(20_000), 4).double()
    assert draws.min() >= 0
    assert draws.max() < 1
    assert (draws.mean(0) - 0.5).abs().max() < 0.01
    assert (draws.var(0) - 1 / 12).abs().max() < 0.002
    correlation = torch.corrcoef(torch.cat([draws[:-1], draws[1:]], 1).T) - torch.eye(8, dtype=torch.float64)
    assert correlation.abs().max() < 0.04


def test_uniform_draws_follow_splitmix64():
    # the reference generator with seed 0 begins with 0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4
    expected = [0xE220A8397B1DCDAF >> 40, 0x6E789E6AA1B965F4 >> 40]
    draws = uniform_draws(0, torch.tensor([0]), 2)
    assert (draws * 2**24).tolist() == [expected]


def test_derived_seeds_depend_on_every_part_and_their_order():
    seeds = {derive_seed(1, 2, 3), derive_seed(1, 3, 2), derive_seed(12, 3), derive_seed(1, 23), derive_seed(1, 2)}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)
