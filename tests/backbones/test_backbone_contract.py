import pytest
import torch

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


@pytest.mark.parametrize("name", ["small-conv", "mobilenet-v2", "mit-b0", "timm:test_efficientnet"])
def test_gradient_reaches_every_parameter(name):
    backbone, _ = build_backbone(name)
    backbone.eval()  # no path is dropped

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
