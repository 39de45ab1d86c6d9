from math import ceil

import pytest
import torch
from torch import nn

from histoproto.backbones.registry import BACKBONES, build_backbone
from histoproto.contracts import LoadedWeights
from histoproto.errors import ConfigError

TIMM = ["timm:test_resnet", "timm:test_efficientnet", "timm:test_vit", "timm:swin_tiny_patch4_window7_224"]


DEEP = {"mit-b2", "mit-b3", "mit-b4", "mit-b5"}
"""MiT-B1 with more blocks; their depths are proved by their number of parameters."""


@pytest.mark.parametrize("name", [*(name for name in BACKBONES if name not in DEEP), *TIMM])
def test_levels_keep_the_contract(name):
    size = 224 if "swin" in name else 160 if "test_vit" in name else 64
    with torch.device("meta"):
        backbone, weights = build_backbone(name)
        levels = backbone(torch.empty(2, 3, size, size))

    assert weights == LoadedWeights("none")
    assert list(backbone.strides) == sorted(backbone.strides)
    assert [tuple(level.shape) for level in levels] == [
        (2, channels, size // stride, size // stride)
        for channels, stride in zip(backbone.channels, backbone.strides, strict=True)
    ]


@pytest.mark.parametrize(
    ("name", "millions"),
    [("b0", 3.4), ("b1", 13.1), ("b2", 24.2), ("b3", 44.0), ("b4", 60.8), ("b5", 81.4)],
)
def test_mit_has_the_encoder_parameters_of_the_paper(name, millions):
    """SegFormer, table 1a, "Params Encoder"."""
    with torch.device("meta"):
        backbone, _ = build_backbone(f"mit-{name}")
    assert sum(weight.numel() for weight in backbone.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)


@pytest.mark.parametrize("name", [name for name in BACKBONES if name not in DEEP])
def test_levels_of_an_image_of_any_size_are_rounded_up(name):
    with torch.device("meta"):
        backbone, _ = build_backbone(name)
        levels = backbone(torch.empty(1, 3, 70, 97))

    assert [tuple(level.shape[-2:]) for level in levels] == [
        (ceil(70 / stride), ceil(97 / stride)) for stride in backbone.strides
    ]


@pytest.mark.parametrize(
    ("name", "millions"),
    [("resnet-18", 11.177), ("resnet-50", 23.508), ("resnet-38d", 105.071), ("transunet", 97.890)],
)
def test_a_network_without_head_and_norms_of_levels_has_the_published_parameters(name, millions):
    """torchvision, 11.690 and 25.557 with head; the published ResNet38d file; timm, 98.659 with head."""
    with torch.device("meta"):
        backbone, _ = build_backbone(name)
    sizes = [weight.numel() for name, weight in backbone.named_parameters() if not name.startswith("norms.")]
    assert sum(sizes) / 1e6 == pytest.approx(millions, abs=0.001)


@pytest.fixture(
    scope="module",
    params=["small-conv", "mobilenet-v2", "mit-b0", "resnet-18", "resnet-50", "resnet-38d", "transunet", TIMM[1]],
)
def backbone(request):
    """One backbone in evaluation mode, so that no path is dropped; tests must not change its weights."""
    torch.manual_seed(0)
    network, _ = build_backbone(request.param)
    for parameter in network.parameters():
        if not parameter.any():  # a residual branch that begins at nothing, say
            nn.init.normal_(parameter, std=0.1)
    return network.eval()


def test_channels_are_read_in_the_order_red_green_blue(backbone):
    seen = []
    convolutions = [module for module in backbone.modules() if isinstance(module, nn.Conv2d)]
    handles = [module.register_forward_pre_hook(lambda _, given: seen.append(given[0])) for module in convolutions]
    colours = torch.tensor([0.9, 0.5, 0.1]).view(1, 3, 1, 1)

    with torch.no_grad():
        backbone(colours.expand(1, 3, 64, 64))
    for handle in handles:
        handle.remove()

    expected = (colours - backbone.normalise.mean) / backbone.normalise.std
    assert backbone.normalise.order == "rgb"
    torch.testing.assert_close(seen[0][..., 32, 32], expected[..., 0, 0])


def test_an_image_has_the_same_levels_alone_and_in_a_batch(backbone):
    images = torch.rand(2, 3, 64, 48)
    with torch.no_grad():
        together, alone = backbone(images), backbone(images[1:])
    for level, expected in zip(together, alone, strict=True):
        scale = expected.abs().amax()
        torch.testing.assert_close(level[1:] / scale, expected / scale, atol=1e-5, rtol=0)


def test_gradient_reaches_every_parameter(backbone):
    levels = backbone(torch.rand(2, 3, 64, 64))
    sum((level * torch.randn_like(level)).sum() for level in levels).backward()

    idle = [
        name
        for name, parameter in backbone.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    assert idle == []


def test_small_conv_has_the_stated_receptive_field():
    backbone, _ = build_backbone("small-conv", widths=(8, 8, 8, 8))
    backbone.eval()
    for level, expected_px in enumerate((15, 39, 87, 151)):
        image = torch.rand(1, 3, 256, 256, requires_grad=True)
        out = backbone(image)[level]
        middle = out.shape[-1] // 2
        (gradient,) = torch.autograd.grad(out[0, :, middle, middle].sum(), image)
        columns = gradient[0].abs().sum((0, 1)).nonzero()
        assert int(columns.max() - columns.min()) + 1 <= expected_px
        assert int(columns.max() - columns.min()) + 1 >= expected_px - 4


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mit-b7", "did you mean mit-b"),
        ("mobilenet", "did you mean mobilenet-v2"),
        ("??", "small-conv, mobilenet-v2, mit-b0"),
        ("timm:resnet81", "did you mean resnet"),
    ],
)
def test_an_unknown_name_ends_in_a_sentence_with_a_way_out(name, words):
    with pytest.raises(ConfigError, match=words):
        build_backbone(name)
