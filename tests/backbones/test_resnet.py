import copy

import pytest
import torch
from torchvision import models

from histoproto.backbones.registry import build_backbone
from histoproto.errors import WeightsError


@pytest.fixture(scope="module")
def torchvision_file(tmp_path_factory):
    """torchvision's own ResNet-18, its tensors not those of a fresh network, and the file of its state dict."""
    torch.manual_seed(1)
    whole = models.resnet18(weights=None).eval()
    for tensor in whole.state_dict().values():
        if tensor.is_floating_point():
            tensor += 0.02 * torch.randn_like(tensor)  # zero mean, so that levels keep the size of real ones
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(whole.state_dict(), path)
    return whole, path


def levels_of(whole, images):
    x = whole.maxpool(whole.relu(whole.bn1(whole.conv1(images))))
    levels = []
    for stage in (whole.layer1, whole.layer2, whole.layer3, whole.layer4):
        x = stage(x)
        levels.append(x)
    return levels


def unscaled(backbone):
    """Take the BatchNorm that ends each level away, which no file holds."""
    backbone.norms = torch.nn.ModuleList(torch.nn.Identity() for _ in backbone.norms)
    return backbone.eval()


def test_a_torchvision_file_gives_torchvisions_levels(torchvision_file):
    whole, path = torchvision_file
    backbone, weights = build_backbone("resnet-18", str(path), last_stride=32)
    image = torch.rand(1, 3, 64, 64)

    with torch.no_grad():
        found, expected = unscaled(backbone)(image), levels_of(whole, backbone.normalise(image))

    assert weights.tensors == len(backbone.trunk.state_dict())
    for level, known in zip(found, expected, strict=True):
        torch.testing.assert_close(level, known)


def test_a_dilated_last_level_holds_the_coarse_one_at_every_second_cell(torchvision_file):
    whole, path = torchvision_file
    backbone, _ = build_backbone("resnet-18", str(path))
    backbone = unscaled(backbone).double()  # exact arithmetic: the two sum in different orders
    image = torch.rand(1, 3, 64, 64, dtype=torch.float64)

    with torch.no_grad():
        fine = backbone(image)[-1]
        coarse = levels_of(copy.deepcopy(whole).double(), backbone.normalise(image))[-1]

    assert tuple(backbone.strides) == (4, 8, 16, 16)
    torch.testing.assert_close(fine[..., ::2, ::2], coarse)


def test_the_file_of_another_depth_is_refused(torchvision_file):
    _, path = torchvision_file
    with pytest.raises(WeightsError, match="does not fit this network"):
        build_backbone("resnet-50", str(path))


def test_resnet_50_has_torchvisions_names_and_shapes():
    with torch.device("meta"):
        backbone, _ = build_backbone("resnet-50")
        whole = models.resnet50(weights=None)
    known = {name: tensor.shape for name, tensor in whole.state_dict().items() if not name.startswith("fc.")}
    assert {name: tensor.shape for name, tensor in backbone.trunk.state_dict().items()} == known


def test_loaded_statistics_stay_and_those_of_the_levels_follow_the_patches(torchvision_file):
    _, path = torchvision_file
    loaded, _ = build_backbone("resnet-18", str(path))
    random, _ = build_backbone("resnet-18")
    assert not loaded.train().trunk.bn1.training
    assert loaded.norms[0].training
    assert random.train().trunk.bn1.training
