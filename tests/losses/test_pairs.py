import torch

from histoproto.losses.pairs import draw_pairs, mean_within_images


def test_each_image_counts_once_whatever_its_number_of_pairs():
    values, image = torch.tensor([1.0, 3.0, 10.0]), torch.tensor([0, 0, 4])
    assert mean_within_images(values, image) == 6.0


def test_no_more_pairs_than_asked_for_are_drawn_and_each_once():
    pairs = torch.arange(20).reshape(10, 2)
    drawn = draw_pairs(pairs, 4)
    assert drawn.shape == (4, 2)
    assert len(drawn.unique(dim=0)) == 4
    assert draw_pairs(pairs, None) is pairs
