import torch

from histoproto.training.mosaic import MosaicBank, Mosaics
from histoproto.training.settings import AugmentSettings, MosaicSettings

SIDE = 32
STILL = AugmentSettings(flips=False, stain_sigma=0.0, stain_bias=0.0)
COLOURS = torch.tensor([[200, 40, 40], [40, 200, 40], [40, 40, 200]])


def bank(groups=("a", "a", "b", "b"), classes=(0, 1, 1, 2)):
    """Patches of one flat colour, which says the class."""
    images = COLOURS[list(classes)][:, :, None, None].expand(-1, 3, SIDE, SIDE).to(torch.uint8)
    return MosaicBank(images.clone(), classes, groups)


def batch(count):
    """Grey images of class 2."""
    images = torch.full((count, 3, SIDE, SIDE), 0.5)
    labels = torch.tensor([[0.0, 0.0, 1.0]]).repeat(count, 1)
    return images, labels, torch.full((count, SIDE, SIDE), 2), torch.arange(count)


def compose(share=0.0, pasted=0.0, count=64, epoch=0, shelf=None, stain=STILL):
    return Mosaics(shelf or bank(), MosaicSettings(share, pasted), stain, seed=5)(*batch(count), epoch)


def pure(images):
    """Return which pixels have one of the three colours, undiluted, and which."""
    distance = (255 * images[:, None] - COLOURS[None, :, :, None, None]).abs().amax(2)
    return distance.amin(1) < 8, distance.argmin(1)


def test_each_pixel_has_the_class_of_the_patch_that_it_is_from():
    made = compose(share=1.0)
    certain, shown = pure(made.images)
    assert made.composed.all()
    assert certain.float().mean() > 0.6
    assert (made.masks[certain] == shown[certain]).all()


def test_regions_fade_into_each_other():
    certain, _ = pure(compose(share=1.0).images)
    assert 0.02 < (~certain).float().mean() < 0.4


def test_labels_are_the_classes_of_the_mask():
    made = compose(share=1.0)
    for labels, mask in zip(made.labels, made.masks, strict=True):
        assert labels.nonzero().flatten().tolist() == mask.unique().tolist()


def test_most_mosaics_hold_several_classes_and_all_come_from_one_slide():
    made = compose(share=1.0)
    held = [set(mask.unique().tolist()) for mask in made.masks]
    assert sum(len(classes) > 1 for classes in held) > 50
    assert not any({0, 2} <= classes for classes in held)  # class 0 is on slide a, class 2 on slide b


def test_a_class_on_slides_of_its_own_is_in_as_many_mosaics_as_any_other():
    rare = bank(groups=("a", "a", "a", "a", "b"), classes=(0, 1, 0, 1, 2))
    held = [set(mask.unique().tolist()) for mask in compose(share=1.0, shelf=rare, count=300).masks]
    assert 80 < sum(2 in classes for classes in held) < 130
    assert sum(2 in classes and len(classes) > 1 for classes in held) > 60


def test_slides_are_mixed_only_where_none_shows_two_classes():
    mixed = compose(share=1.0, shelf=bank(groups=("a", "b", "c", "d")))
    assert any({0, 2} <= set(mask.unique().tolist()) for mask in mixed.masks)


def test_only_patches_of_several_slides_have_their_stain_varied_one_by_one():
    varied = AugmentSettings(stain_sigma=0.3, stain_bias=0.1)
    assert compose(share=1.0, stain=varied).images.equal(compose(share=1.0).images)
    apart = bank(groups=("a", "b", "c", "d"))
    still, made = compose(share=1.0, shelf=apart), compose(share=1.0, shelf=apart, stain=varied)
    change = (made.images - still.images).abs().amax((1, 2, 3))
    mixed = torch.tensor([len(mask.unique()) > 1 for mask in still.masks])
    assert (change[mixed] > 0.02).all()
    assert made.masks.equal(still.masks)


def test_white_stays_background_where_the_stain_varies():
    apart = bank(groups=("a", "b", "c", "d"))
    apart.images[:] = 250
    assert (compose(share=1.0, shelf=apart, stain=AugmentSettings(stain_bias=0.5)).masks == 3).all()


def test_a_pasted_region_leaves_the_rest_as_it_was():
    made = compose(pasted=1.0)
    images, _, masks, _ = batch(64)
    untouched = ((made.images - images).abs() < 1e-3).all(1)
    assert untouched.float().mean() > 0.1
    assert (made.masks[untouched] == masks[untouched]).all()
    assert (made.labels[:, 2] == 1).all()
    assert (made.masks != 2).any((1, 2)).sum() > 20


def test_the_shares_are_kept():
    made = compose(share=0.25, pasted=0.25, count=400)
    assert 160 < int(made.composed.sum()) < 240
    images, labels, masks, _ = batch(400)
    left = ~made.composed
    assert made.images[left].equal(images[left])
    assert made.labels[left].equal(labels[left])
    assert made.masks[left].equal(masks[left])


def test_a_mosaic_depends_on_seed_epoch_and_index_alone():
    mosaics = Mosaics(bank(), MosaicSettings(0.5, 0.2), AugmentSettings(), seed=5)
    whole = mosaics(*batch(16), 3)
    order = torch.tensor([7, 2, 11])
    images, labels, masks, indices = (part[order] for part in batch(16))
    part = mosaics(images, labels, masks, indices, 3)
    assert part.images.equal(whole.images[order])
    assert part.masks.equal(whole.masks[order])
    assert not mosaics(*batch(16), 4).images.equal(whole.images)


def test_white_of_a_patch_is_background_in_the_mosaic():
    shelf = bank()
    shelf.images[:] = 250
    made = compose(share=1.0, shelf=shelf)
    assert (made.masks == 3).all()
    assert (made.labels == 0).all()


def test_masks_turn_with_their_images():
    from histoproto.training.preparing import masked

    class Batch:
        images = (255 * torch.rand(8, 3, SIDE, SIDE)).to(torch.uint8)
        labels = torch.ones(8, 3)
        masks = images[:, 0] // 100
        names = [""] * 8
        indices = torch.arange(8)

    prepare = masked(AugmentSettings(flips=True), seed=1, mosaics=None)
    images, _, masks, composed = prepare(Batch(), lambda tensor: tensor, 0)
    assert ((255 * images[:, 0]).round().long() // 100 == masks).all()
    assert not masks.equal(Batch.masks.long())
    assert not composed.any()
