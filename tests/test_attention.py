import pytest
import torch
from torch import nn
from transformers import SegformerConfig, SegformerModel

from histoproto.attention import MOST_KEYS, attend, attend_fast


def layer():
    """A layer of a vision model, which looks both ways."""
    module = nn.Module()
    module.is_causal = False
    return module


def tensors(keys):
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 3, 5, 8), (2, 3, keys, 8), (2, 3, keys, 8))
    query, key, value = (torch.randn(*shape, generator=generator, requires_grad=True) for shape in shapes)
    return query, key, value, torch.randn(1, 3, 5, keys, generator=generator)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("keys", [7, MOST_KEYS + 1])
def test_attention_and_its_gradients_are_those_of_torch_s_own(keys, masked):
    query, key, value, mask = tensors(keys)
    mask = mask if masked else None
    found, nothing = attend(layer(), query, key, value, mask, scaling=0.3)
    expected = nn.functional.scaled_dot_product_attention(query, key, value, mask, scale=0.3).transpose(1, 2)
    assert nothing is None
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(found)
    for one, other in zip(
        torch.autograd.grad(found, (query, key, value), weights),
        torch.autograd.grad(expected, (query, key, value), weights),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_without_a_scale_it_is_the_root_of_the_channels():
    query, key, value, _ = tensors(7)
    torch.testing.assert_close(
        attend(layer(), query, key, value, None)[0], attend(layer(), query, key, value, None, 8**-0.5)[0]
    )


def test_a_network_of_transformers_takes_it_and_gives_the_same():
    config = {"hidden_sizes": [8, 8, 8, 8], "num_attention_heads": [1, 1, 2, 2], "depths": [1, 1, 1, 1]}
    torch.manual_seed(0)
    network = SegformerModel(SegformerConfig(**config)).eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = network(images).last_hidden_state
        attend_fast(network)
        assert network.config._attn_implementation == "histoproto"
        torch.testing.assert_close(network(images).last_hidden_state, before)
