from dataclasses import replace

import pytest
import torch

from histoproto.errors import ConfigError
from histoproto.presets.registry import preset_settings
from histoproto.presets.settings import BackboneSettings
from histoproto.taxonomy import BCSS_WSSS
from histoproto.wiring.methods import build


def normalise_of(backbone):
    settings = replace(preset_settings("cam", "corrected"), backbone=backbone)
    return build(settings, BCSS_WSSS).method.backbone.normalise


def test_a_backbone_is_fed_as_its_own_weights_were_unless_told_otherwise():
    own = normalise_of(BackboneSettings("vit:vit_tiny_patch16_224", zoom=2.0))
    assert own.mean.flatten().tolist() == pytest.approx([0.5, 0.5, 0.5])  # as timm states for this model
    assert own.zoom == 2.0
    imagenet = normalise_of(BackboneSettings("small-conv"))
    assert imagenet.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    told = normalise_of(BackboneSettings("small-conv", mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0), order="bgr"))
    assert torch.allclose(told.mean.flatten(), torch.tensor([0.1, 0.2, 0.3]))
    assert told.order == "bgr"


def test_half_a_normalisation_is_refused():
    with pytest.raises(ConfigError, match="mean and std together"):
        BackboneSettings(mean=(0.5, 0.5, 0.5))
