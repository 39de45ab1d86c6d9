import pytest
import timm
import torch
from safetensors.torch import save_file

from histoproto.backbones.registry import build_backbone
from histoproto.errors import ConfigError, WeightsError


@pytest.mark.parametrize("model", ["test_resnet", "test_efficientnet", "test_convnext", "test_vit"])
def test_a_whole_models_file_fills_its_pyramid(model, tmp_path):
    whole = timm.create_model(model).eval()
    save_file(whole.state_dict(), tmp_path / "model.safetensors")

    backbone, weights = build_backbone(f"timm:{model}", str(tmp_path))
    image = torch.rand(1, 3, 160, 160)
    with torch.no_grad():
        level = backbone.eval()(image)[-1]
        _, expected = whole.forward_intermediates(backbone.normalise(image), indices=1)

    assert weights.tensors == len(backbone.state_dict())
    torch.testing.assert_close(level, expected[-1])


def test_a_tensor_of_another_model_is_refused(tmp_path):
    whole = timm.create_model("test_resnet").state_dict()
    save_file({**whole, "neck.weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"no place for 1 .*neck\.weight"):
        build_backbone("timm:test_resnet", str(tmp_path))


def test_output_stride_keeps_the_last_level_fine():
    backbone, _ = build_backbone("timm:resnet18", output_stride=16)
    assert tuple(backbone.strides) == (4, 8, 16, 16)


def test_levels_can_be_chosen():
    backbone, _ = build_backbone("timm:test_resnet", out_indices=(0, 2))
    assert tuple(backbone.strides) == (2, 8)


@pytest.mark.parametrize("options", [{"out_indices": (9,)}, {"output_stride": 5}])
def test_what_a_model_cannot_do_is_a_settings_error(options):
    with pytest.raises(ConfigError, match="cannot be built"):
        build_backbone("timm:test_resnet", **options)
