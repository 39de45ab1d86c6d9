import torch

from histoproto.prototypes.similarity import cosine_maps


def test_a_pixel_like_its_prototype_has_cosine_one_whatever_their_lengths():
    prototypes = torch.eye(3)[:2] * 7
    pixels = torch.zeros(1, 3, 1, 2)
    pixels[0, 0, 0, 0], pixels[0, 2, 0, 1] = 5.0, 2.0
    maps = cosine_maps(pixels, prototypes)
    torch.testing.assert_close(maps, torch.tensor([[[[1.0, 0.0]], [[0.0, 0.0]]]]))


def test_rows_and_columns_are_not_swapped():
    pixels = torch.randn(1, 4, 3, 5)
    maps = cosine_maps(pixels, torch.randn(2, 4))
    assert maps.shape == (1, 2, 3, 5)
    turned = cosine_maps(pixels.rot90(1, (-2, -1)), torch.randn(2, 4))
    assert turned.shape == (1, 2, 5, 3)


def test_a_zero_vector_has_similarity_zero():
    assert cosine_maps(torch.zeros(1, 4, 2, 2), torch.randn(3, 4)).abs().max() == 0
