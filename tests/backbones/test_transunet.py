from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from timm.layers import StdConv2dSame
from timm.models.resnetv2 import ResNetV2
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_hybrid import HybridEmbed

from histoproto.backbones.transunet import transunet
from histoproto.errors import WeightsError

DIM, HEADS = 32, 2
WIDTHS = (128, 256, 512)
"""GroupNorm has 32 groups, also on a quarter of the channels."""


def tiny_hybrid(img_size=64, classes=0):
    """One of timm's hybrids with a block per stage and two transformer blocks."""
    convolutions = ResNetV2(
        layers=(1, 2, 1),
        channels=WIDTHS,
        stem_chs=32,
        num_classes=0,
        global_pool="",
        preact=False,
        stem_type="same",
        conv_layer=partial(StdConv2dSame, eps=1e-8),
    )
    return VisionTransformer(
        img_size=img_size,
        patch_size=1,
        embed_dim=DIM,
        depth=2,
        num_heads=HEADS,
        num_classes=classes,
        embed_layer=partial(HybridEmbed, backbone=convolutions),
    )


def shaken(network):
    """Give every tensor values of its own."""
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network.eval()


def array(*shape):
    """Return numbers that no other array has."""
    return torch.randn(shape).numpy()


def published_archive(network):
    """Return arrays under the names and in the layout of Google's file."""
    held = {"conv_root/kernel": array(7, 7, 3, 32), **norm("gn_root", 1, 1, 1, 32)}
    inputs = 32
    for stage, (units, width) in enumerate(zip((1, 2, 1), WIDTHS, strict=True), start=1):
        for unit in range(1, units + 1):
            held |= published_unit(f"block{stage}/unit{unit}", inputs, width)
            inputs = width
    held |= {"embedding/kernel": array(1, 1, inputs, DIM), "embedding/bias": array(DIM), "cls": array(1, 1, DIM)}
    held["Transformer/posembed_input/pos_embedding"] = array(1, network.pos_embed.shape[1], DIM)
    for block in range(2):
        held |= published_block(f"Transformer/encoderblock_{block}")
    return held | norm("Transformer/encoder_norm", DIM) | {"head/kernel": array(DIM, 5), "head/bias": array(5)}


def published_unit(place, inputs, width):
    held = {}
    inner = width // 4
    shapes = ((1, 1, inputs, inner), (3, 3, inner, inner), (1, 1, inner, width))
    for number, shape in enumerate(shapes, start=1):
        held[f"{place}/conv{number}/kernel"] = array(*shape)
        held |= norm(f"{place}/gn{number}", 1, 1, 1, shape[-1])
    if place.endswith("unit1"):
        held |= {f"{place}/conv_proj/kernel": array(1, 1, inputs, width), **norm(f"{place}/gn_proj", width)}
    return held


def published_block(place):
    attention = f"{place}/MultiHeadDotProductAttention_1"
    held = {f"{attention}/out/kernel": array(HEADS, DIM // HEADS, DIM), f"{attention}/out/bias": array(DIM)}
    for part in ("query", "key", "value"):
        held[f"{attention}/{part}/kernel"] = array(DIM, HEADS, DIM // HEADS)
        held[f"{attention}/{part}/bias"] = array(HEADS, DIM // HEADS)
    for index, shape in enumerate(((DIM, 4 * DIM), (4 * DIM, DIM))):
        dense = f"{place}/MlpBlock_3/Dense_{index}"
        held |= {f"{dense}/kernel": array(*shape), f"{dense}/bias": array(shape[1])}
    return held | norm(f"{place}/LayerNorm_0", DIM) | norm(f"{place}/LayerNorm_2", DIM)


def norm(place, *shape):
    return {f"{place}/scale": array(*shape), f"{place}/bias": array(*shape)}


def test_levels_are_those_of_timm():
    network = shaken(tiny_hybrid())
    backbone, _ = transunet(network=network)
    image = torch.rand(2, 3, 64, 64)

    with torch.no_grad():
        levels = backbone.eval()(image)
        _, expected = network.forward_intermediates(backbone.normalise(image), indices=1, norm=True)
        stages = network.patch_embed.backbone(backbone.normalise(image))

    assert backbone.channels == (*WIDTHS, DIM)
    assert backbone.strides == (4, 8, 16, 16)
    assert [tuple(level.shape[-2:]) for level in levels] == [(16, 16), (8, 8), (4, 4), (4, 4)]
    torch.testing.assert_close(levels[-1], expected[0])
    torch.testing.assert_close(levels[-2], backbone.norms[-1](stages))


def test_googles_archive_loads_as_timm_itself_loads_it(tmp_path):
    expected = tiny_hybrid(classes=5)
    np.savez(tmp_path / "R50+ViT-B_16.npz", **published_archive(expected))
    expected.load_pretrained(str(tmp_path / "R50+ViT-B_16.npz"))

    backbone, weights = transunet(str(tmp_path / "R50+ViT-B_16.npz"), network=tiny_hybrid())

    own = backbone.network.state_dict()
    assert weights.tensors == len(own)
    assert weights.sha256 is not None
    for name, tensor in own.items():
        assert tensor.equal(expected.state_dict()[name]), name


def test_timms_file_of_another_input_size_loads_with_interpolated_positions(tmp_path):
    whole = shaken(tiny_hybrid(img_size=96, classes=3))
    save_file(whole.state_dict(), tmp_path / "model.safetensors")

    backbone, weights = transunet(str(tmp_path), network=tiny_hybrid())
    same_size, _ = transunet(str(tmp_path), network=tiny_hybrid(img_size=96))
    image = torch.rand(1, 3, 96, 96)

    assert weights.tensors == len(backbone.network.state_dict())
    with torch.no_grad():
        _, expected = whole.forward_intermediates(same_size.normalise(image), indices=1, norm=True)
        torch.testing.assert_close(same_size.eval()(image)[-1], expected[0])
    first = backbone.network.pos_embed[:, 0]
    assert first.equal(whole.pos_embed[:, 0])  # of the class token


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda held: held.pop("block2/unit2/conv3/kernel"), "lacks 1 of"),
        (lambda held: held.pop("Transformer/encoderblock_1/MultiHeadDotProductAttention_1/key/bias"), "lacks 1 of"),
        (lambda held: held.update({"neck/kernel": np.zeros((2, 2), np.float32)}), "no place for 1"),
        (lambda held: held.update({"cls": np.zeros((1, 1, 8), np.float32)}), "differs in shape at 1"),
    ],
)
def test_an_archive_of_another_network_is_refused(change, words, tmp_path):
    network = tiny_hybrid()
    held = published_archive(network)
    change(held)
    np.savez(tmp_path / "other.npz", **held)
    with pytest.raises(WeightsError, match=words):
        transunet(str(tmp_path / "other.npz"), network=network)


def test_a_truncated_archive_and_one_with_pickled_objects_are_refused(tmp_path):
    network = tiny_hybrid()
    whole = tmp_path / "whole.npz"
    np.savez(whole, **published_archive(network))
    (tmp_path / "half.npz").write_bytes(whole.read_bytes()[:5000])
    np.savez(tmp_path / "pickled.npz", anything=np.array([{"a": 1}], dtype=object))
    for name in ("half", "pickled"):
        with pytest.raises(WeightsError, match="truncated or no archive of plain arrays"):
            transunet(str(tmp_path / f"{name}.npz"), network=network)
    with pytest.raises(WeightsError, match="no such weights file"):
        transunet(str(tmp_path / "absent.npz"), network=network)
