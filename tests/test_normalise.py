import torch

from histoproto.normalise import Normalise


def test_rgb_is_normalised_channel_by_channel():
    image = torch.tensor([0.5, 0.2, 0.9]).view(1, 3, 1, 1)
    out = Normalise((0.5, 0.1, 0.4), (0.1, 0.2, 0.5))(image)
    torch.testing.assert_close(out.flatten(), torch.tensor([0.0, 0.5, 1.0]))


def test_bgr_turns_the_image_around_before_its_statistics_apply():
    image = torch.tensor([0.5, 0.2, 0.9]).view(1, 3, 1, 1)
    out = Normalise((0.4, 0.1, 0.5), (0.5, 0.2, 0.1), order="bgr")(image)
    torch.testing.assert_close(out.flatten(), torch.tensor([1.0, 0.5, 0.0]))


def test_statistics_are_settings_and_no_weights():
    assert Normalise().state_dict() == {}
