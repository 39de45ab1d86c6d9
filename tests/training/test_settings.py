import pytest

from histoproto.errors import ConfigError
from histoproto.training.settings import AugmentSettings, TrainSettings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs is 0, but must be at least 1"),
        ({"batch": -2}, "batch is -2, but must be at least 1"),
        ({"lr": 0.0}, "lr is 0.0, but must be above 0"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1, but must not be negative"),
        ({"patience": 0}, "patience is 0"),
        ({"patience": 3, "choose_by": "last"}, "patience needs a figure to watch"),
    ],
)
def test_settings_out_of_range_are_refused_in_one_sentence(changes, message):
    with pytest.raises(ConfigError, match=message):
        TrainSettings(**changes)


def test_augmentation_out_of_range_is_refused():
    with pytest.raises(ConfigError, match=r"stain_sigma is 1\.5"):
        AugmentSettings(stain_sigma=1.5)
