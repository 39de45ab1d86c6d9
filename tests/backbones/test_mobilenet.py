import torch
from torchvision.models import mobilenet_v2

from histoproto.backbones.registry import build_backbone


def test_half_precision_torchvision_file_loads_in_full(tmp_path):
    whole = mobilenet_v2(weights=None).state_dict()
    path = tmp_path / "mobilenet.pth"
    torch.save({name: tensor.half() for name, tensor in whole.items()}, path)

    backbone, weights = build_backbone("mobilenet-v2", str(path))

    assert weights.tensors == len(backbone.features.state_dict())
    assert weights.sha256 is not None
    for inner, tensor in backbone.features.state_dict().items():
        name = f"features.{inner}"
        assert tensor.dtype == whole[name].dtype
        torch.testing.assert_close(tensor, whole[name], atol=1e-3, rtol=1e-3)


def test_dilated_last_level_holds_the_coarse_one_at_every_second_pixel():
    coarse, _ = build_backbone("mobilenet-v2", last_stride=32)
    fine, _ = build_backbone("mobilenet-v2", last_stride=16)
    fine.load_state_dict(coarse.state_dict())
    image = torch.rand(1, 3, 128, 128)

    with torch.no_grad():
        coarse_level = coarse(image)[-1]
        fine_level = fine(image)[-1]

    torch.testing.assert_close(fine_level[..., ::2, ::2], coarse_level)
