import torch

from histoproto.prototypes.heads import ConvolutionHead, SimilarityHead


def test_a_pixel_that_equals_a_projected_prototype_gets_the_scale():
    head, prototypes = SimilarityHead(6, 4, scale=5.0), torch.randn(3, 6)
    pixels = head.projection(prototypes)[1].detach()[None, :, None, None] * 7
    assert torch.isclose(head(pixels, prototypes)[0, 1, 0, 0], torch.tensor(5.0))
    assert torch.isclose(head.cosines(pixels, prototypes)[0, 1, 0, 0], torch.tensor(1.0))


def test_the_released_head_follows_the_length_of_the_projected_prototype():
    head, prototypes, pixels = SimilarityHead(6, 4, 1.0, unit=False), torch.randn(3, 6), torch.randn(1, 4, 2, 2)
    before = head(pixels, prototypes)
    head.projection.fc2.weight.data *= 3
    torch.testing.assert_close(head(pixels, prototypes), 3 * before)


def test_a_convolution_head_knows_no_prototype():
    head, pixels = ConvolutionHead(3, 4), torch.randn(1, 4, 2, 2)
    torch.testing.assert_close(head(pixels, torch.randn(3, 6)), head(pixels, torch.randn(3, 6)))
    assert head.cosines(pixels, torch.randn(3, 6)).abs().max() <= 1.0001
