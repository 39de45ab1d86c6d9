import torch

from histoproto.cams.voting import vote, vote_in_masks


def test_a_region_takes_the_mean_of_its_pixels():
    shares = torch.tensor([[[0.9, 0.5, 0.1]], [[0.1, 0.5, 0.9]]])
    voted = vote(shares, torch.tensor([[0, 0, 2]]))  # no pixel is in region 1
    torch.testing.assert_close(voted, torch.tensor([[[0.7, 0.7, 0.1]], [[0.3, 0.3, 0.9]]]))


def test_smaller_masks_lie_on_top_and_pixels_outside_keep_their_shares():
    shares = torch.tensor([[[0.0, 0.2, 0.4, 1.0]]])
    large, small = torch.tensor([[True, True, True, False]]), torch.tensor([[False, True, True, False]])
    voted = vote_in_masks(shares, [large, small, torch.zeros(1, 4, dtype=torch.bool)])
    torch.testing.assert_close(voted, torch.tensor([[[0.2, 0.3, 0.3, 1.0]]]))
