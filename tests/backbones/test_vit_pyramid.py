import pytest
import timm
import torch
from safetensors.torch import save_file

from histoproto.backbones.frozen_pyramid import FrozenPyramid
from histoproto.backbones.registry import build_backbone
from histoproto.backbones.vit_pyramid import ViTPyramid
from histoproto.errors import ConfigError, WeightsError
from histoproto.frozen import Pretrained
from tests.backbones.tiny_conch import tiny_checkpoint, tiny_conch, tiny_trunk


def shapes(levels):
    return [tuple(level.shape[1:]) for level in levels]


@torch.no_grad()
def test_levels_are_blocks_resized_to_a_pyramid_of_14_cells_at_224_px():
    images = torch.rand(1, 3, 224, 224)
    assert shapes(tiny_conch()(images)) == [(16, 56, 56), (16, 28, 28), (16, 14, 14), (16, 14, 14)]
    assert shapes(tiny_conch(released=True)(images)) == [(16, 56, 56), (16, 28, 28), (16, 14, 14), (16, 7, 7)]


@torch.no_grad()
def test_blocks_3_6_9_and_12_of_twelve_are_taken_and_normalised_by_the_last_layer_norm():
    trunk = timm.create_model("test_vit", img_size=64, depth=12, num_classes=0, dynamic_img_size=True).eval()
    pyramid = ViTPyramid(trunk)
    assert pyramid.blocks == [2, 5, 8, 11]
    images = torch.rand(2, 3, 64, 64)
    tokens = trunk.forward_features(pyramid.normalise(images))[:, 1:]
    torch.testing.assert_close(pyramid(images)[-1].flatten(2).transpose(1, 2), tokens)
    captured = []
    trunk.blocks[8].register_forward_hook(lambda _module, _inputs, output: captured.append(output))
    third = pyramid(images)[2]
    torch.testing.assert_close(third.flatten(2).transpose(1, 2), trunk.norm(captured[0])[:, 1:])


@torch.no_grad()
def test_the_released_last_level_is_the_average_of_four_cells():
    trunk, images = tiny_trunk().eval(), torch.rand(1, 3, 64, 64)
    fine, coarse = tiny_conch(trunk=trunk)(images)[-1], tiny_conch(released=True, trunk=trunk)(images)[-1]
    torch.testing.assert_close(coarse[0, :, 0, 0], fine[0, :, :2, :2].mean((-2, -1)))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 64), (96, 160), (224, 224), (100, 70)])
@torch.no_grad()
def test_positions_are_interpolated_to_any_input_size(height, width):
    levels = tiny_conch().eval()(torch.rand(1, 3, height, width))
    for level, stride in zip(levels, (4, 8, 16, 16), strict=True):
        assert level.shape[-2:] == (-(-height // stride), -(-width // stride))
        assert level.isfinite().all()


@torch.no_grad()
def test_what_lies_at_the_top_right_of_an_image_lies_at_the_top_right_of_the_levels():
    pyramid = tiny_conch().eval()
    image, changed = torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)
    changed[..., :16, 48:] = 1
    for plain, level in zip(pyramid(image), pyramid(changed), strict=True):
        difference = (plain - level).abs().sum((0, 1))
        row, column = divmod(int(difference.argmax()), difference.shape[1])
        assert row < difference.shape[0] / 2 <= column


@pytest.mark.parametrize("patch", [8, 14, 16])
@torch.no_grad()
def test_patches_of_any_size_lie_on_cells_of_a_power_of_two(patch):
    trunk = timm.create_model("test_vit", patch_size=patch, img_size=8 * patch, num_classes=0, dynamic_img_size=True)
    pyramid = ViTPyramid(trunk)
    cell = 8 if patch == 8 else 16
    assert tuple(pyramid.strides) == (cell // 4, cell // 2, cell, cell)
    assert pyramid(torch.rand(1, 3, 64, 64))[-1].shape[-1] == 64 // cell


@torch.no_grad()
def test_conchs_checkpoint_fills_the_trunk_and_everything_else_of_it_is_ignored(tmp_path):
    trunk = tiny_trunk().eval()
    file = tmp_path / "pytorch_model.bin"
    torch.save(tiny_checkpoint(trunk), file)
    from histoproto.backbones.vit_pyramid import conch_pyramid

    pyramid, loaded = conch_pyramid(str(tmp_path), trunk=tiny_trunk())
    images = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(pyramid.eval()(images), tiny_conch(trunk=trunk)(images))
    assert loaded.tensors == len(trunk.state_dict())
    assert "CC-BY-NC-ND" in loaded.licence


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda held: held.pop("visual.trunk.norm.bias"), r"lacks 1 of \d+ tensors \(norm\.bias\)"),
        (lambda held: held.update({"visual.head.weight": torch.zeros(2)}), r"no place for 1 .*visual\.head\.weight"),
        (lambda held: held.update({"visual.trunk.pos_embed": torch.zeros(1, 5, 16)}), r"differs in shape .*pos_embed"),
    ],
)
def test_a_checkpoint_that_does_not_fit_ends_in_a_sentence(change, sentence, tmp_path):
    held = tiny_checkpoint(tiny_trunk())
    change(held)
    save_file(held, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=sentence):
        tiny_conch(weights=str(tmp_path))


def test_conch_is_a_vit_b16_with_the_positions_of_448_px():
    with torch.device("meta"):
        backbone, _ = build_backbone("conch")
    assert backbone.network.pos_embed.shape == (1, 1 + 28 * 28, 768)
    assert len(backbone.network.blocks) == 12


@torch.no_grad()
def test_any_vision_transformer_of_timm_is_filled_from_a_file_of_the_whole_model(tmp_path):
    whole = timm.create_model("test_vit").eval()
    save_file(whole.state_dict(), tmp_path / "model.safetensors")
    backbone, loaded = build_backbone("vit:test_vit", str(tmp_path))
    images = torch.rand(1, 3, 160, 160)
    expected = whole.forward_features(backbone.normalise(images))[:, 1:]
    torch.testing.assert_close(backbone.eval()(images)[-1].flatten(2).transpose(1, 2), expected)
    assert loaded.tensors == len(backbone.network.state_dict())


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("vit:vit_bas_patch16_224", "did you mean vit_base_patch16_"),
        ("vit:resnet18", "no plain vision transformer; try timm:resnet18"),
        ("vit:swin_tiny_patch4_window7_224", "no plain vision transformer; try timm:swin"),
    ],
)
def test_what_is_no_vision_transformer_ends_in_a_sentence_with_a_way_out(name, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build_backbone(name)


def test_a_frozen_one_with_loaded_weights_stays_in_evaluation_mode_and_out_of_checkpoints():
    frozen = FrozenPyramid(tiny_conch(), pretrained=True)
    frozen.train()
    assert isinstance(frozen.frozen, Pretrained)
    assert frozen.state_dict() == {}
    assert not any(module.training for module in frozen.frozen.network.modules())
    images = torch.rand(1, 3, 64, 64, requires_grad=True)
    frozen(images)[-1].sum().backward()
    assert images.grad.any()
    assert all(weight.grad is None for weight in frozen.frozen.network.parameters())


def test_an_unfrozen_one_trains_all_of_its_weights_but_what_it_has_no_use_for():
    pyramid = tiny_conch()
    sum((level * torch.randn_like(level)).sum() for level in pyramid(torch.rand(1, 3, 64, 64))).backward()
    assert all(weight.grad is not None for weight in pyramid.parameters())
