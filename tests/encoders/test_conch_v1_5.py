import pytest
import torch
from torch.nn.functional import gelu, interpolate

from histoproto.encoders.cards import CARDS
from histoproto.encoders.conch_v1_5 import ConchV15Shape, ConchV15Tower, conch_v1_5, image_encoder
from histoproto.errors import WeightsError
from tests.encoders.contract import check_image_side, check_refusals, draw, tiny
from tests.encoders.test_conch import attend, mapped, normed
from tests.encoders.transformers_by_hand import norm, timm_vit

CARD = tiny("conch-v1.5", input_px=64, dim=8)
SHAPE = ConchV15Shape(16, 12, 2, 3, 2, held_grid=2)
POOL = "attn_pool_contrast"


@pytest.fixture
def tensors():
    """A tiny CONCH v1.5 under the names of its checkpoint, with positions of 2 x 2 patches."""
    shapes = {f"trunk.{name}": shape for name, shape in timm_vit(12, 5, hidden=48).items()}
    shapes |= {f"{POOL}.query": (1, 8), f"{POOL}.to_q.weight": (8, 8), f"{POOL}.to_kv.weight": (16, 12)}
    shapes |= {f"{POOL}.to_out.weight": (8, 8)} | norm(f"{POOL}.ln_k", 12) | norm(f"{POOL}.ln_q", 8)
    return draw(shapes | norm("ln_contrast", 8))


@pytest.fixture
def folder(tensors, tmp_path):
    """The checkpoint under its published name."""
    torch.save(tensors, tmp_path / "pytorch_model_vision.bin")
    return tmp_path


def image_by_hand(held, image):
    """Return CONCH v1.5's vector of one normalised picture of 64 x 64."""
    patches = image.unfold(1, 16, 16).unfold(2, 16, 16).permute(1, 2, 0, 3, 4).reshape(16, -1)
    tokens = patches @ held["trunk.patch_embed.proj.weight"].reshape(12, -1).T
    tokens = torch.cat([held["trunk.cls_token"][0], tokens + held["trunk.patch_embed.proj.bias"]])
    grid = held["trunk.pos_embed"][:, 1:].reshape(1, 2, 2, 12).permute(0, 3, 1, 2)
    grid = interpolate(grid, scale_factor=(4.1 / 2, 4.1 / 2), mode="bicubic")
    tokens = tokens + torch.cat([held["trunk.pos_embed"][0, :1], grid.permute(0, 2, 3, 1).reshape(16, 12)])
    everything = [list(range(17))] * 17
    for index in range(2):
        block = f"trunk.blocks.{index}"
        parts = mapped(held, f"{block}.attn.qkv", normed(held, f"{block}.norm1", tokens, 1e-6)).split(12, dim=1)
        answer = mapped(held, f"{block}.attn.proj", attend(*parts, 3, everything))
        tokens = tokens + held[f"{block}.ls1.gamma"] * answer
        inner = gelu(mapped(held, f"{block}.mlp.fc1", normed(held, f"{block}.norm2", tokens, 1e-6)))
        tokens = tokens + held[f"{block}.ls2.gamma"] * mapped(held, f"{block}.mlp.fc2", inner)
    tokens = normed(held, "trunk.norm", tokens, 1e-6)
    query = normed(held, f"{POOL}.ln_q", held[f"{POOL}.query"]) @ held[f"{POOL}.to_q.weight"].T
    key, value = (normed(held, f"{POOL}.ln_k", tokens) @ held[f"{POOL}.to_kv.weight"].T).split(8, dim=1)
    pooled = attend(query, key, value, 2, everything[:1]) @ held[f"{POOL}.to_out.weight"].T
    return normed(held, "ln_contrast", pooled)[0]


def test_the_image_side_keeps_the_contract(folder, tensors):
    encoder, loaded = image_encoder(CARD, str(folder), SHAPE)
    check_image_side(encoder)
    assert loaded.tensors == len(tensors)
    assert "CC-BY-NC-ND" in loaded.licence


def test_the_vector_is_that_of_a_calculation_by_hand(folder, tensors):
    encoder = image_encoder(CARD, str(folder), SHAPE)[0]
    pictures = torch.rand(2, 3, 64, 64)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CARD.mean, CARD.std))
    expected = torch.stack([image_by_hand(tensors, (picture - mean) / std) for picture in pictures])
    torch.testing.assert_close(encoder(pictures), expected, rtol=1e-4, atol=1e-5)


def test_positions_of_a_larger_picture_are_first_brought_to_the_held_grid(tensors):
    smooth = torch.linspace(0, 1, 16).reshape(1, 16, 1).expand(1, 16, 12)
    large = tensors | {"trunk.pos_embed": torch.cat([tensors["trunk.pos_embed"][:, :1], smooth], dim=1)}
    tower = ConchV15Tower(CARD, SHAPE)
    from histoproto.encoders.conch_v1_5 import _with_positions

    held = _with_positions(large, 2, 4)["trunk.pos_embed"]

    assert held.shape == tower.trunk.pos_embed.shape
    assert torch.equal(held[:, 0], large["trunk.pos_embed"][:, 0])
    assert (held[0, 5:, 0] > held[0, 1:-4, 0]).all()  # they still grow from row to row


def test_wrong_weights_end_in_a_sentence(tensors, tmp_path):
    check_refusals(lambda weights: image_encoder(CARD, weights, SHAPE), tensors, tmp_path, "trunk.")


def test_the_size_is_that_of_vit_l_16(tmp_path):
    with torch.device("meta"):
        tower = ConchV15Tower(CARDS["conch-v1.5"], ConchV15Shape())
        with pytest.raises(WeightsError, match=r"absent: no such weights"):
            conch_v1_5(str(tmp_path / "absent"))
    trunk = sum(weight.numel() for weight in tower.trunk.parameters()) - (785 - 197) * 1024
    assert trunk == 303_350_784  # as of UNI, from which its training began
