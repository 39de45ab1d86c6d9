from importlib import import_module
from importlib.metadata import EntryPoint

import pytest
import torch

from histoproto.backbones.small_conv import SmallConv
from histoproto.contracts import LoadedWeights
from histoproto.encoders.cards import CARDS
from histoproto.encoders.random_conv import RandomEncoder
from histoproto.encoders.registry import PLUGINS, PRETRAINED, TEXT, UNTRAINED, build_encoder, build_text_encoder
from histoproto.encoders.self_average import SelfEncoder
from histoproto.errors import ConfigError


@pytest.fixture
def backbone():
    return SmallConv((4, 8, 8, 6))


def set_all(network, value):
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.fill_(value)


@pytest.mark.parametrize("name", [name for name in UNTRAINED if name != "none"])
def test_every_encoder_keeps_the_contract(name, backbone):
    encoder = build_encoder(name, None, backbone)[0]
    encoder.train()
    images = torch.rand(2, 3, 32, 48, requires_grad=True)

    features = encoder(images)
    features.square().sum().backward()

    assert features.shape == (2, encoder.dim)
    assert images.grad.abs().sum() > 0
    assert not any(weight.requires_grad for weight in encoder.parameters())
    with torch.no_grad():
        alone = encoder(images[:1])
    torch.testing.assert_close(alone, features[:1])


def test_none_is_no_encoder(backbone):
    assert build_encoder("none", None, backbone)[0] is None


def test_an_unknown_encoder_ends_in_a_sentence_with_a_way_out(backbone):
    with pytest.raises(ConfigError, match="'slef'; did you mean self"):
        build_encoder("slef", None, backbone)


@pytest.mark.parametrize(("step", "kept"), [(0, 0.1), (9, 10 / 19), (100_000, 0.9)])
def test_the_average_keeps_the_warm_share_of_the_old_weights(backbone, step, kept):
    set_all(backbone, 1.0)
    encoder = SelfEncoder(backbone, momentum=0.9)
    set_all(backbone, 3.0)

    encoder.update(backbone, step)

    for weight in encoder.average.parameters():
        torch.testing.assert_close(weight, torch.full_like(weight, kept * 1 + (1 - kept) * 3))
    statistics = [name for name, _ in encoder.average.named_buffers() if "normalise" not in name]
    assert statistics
    for name in statistics:
        assert (encoder.state_dict()[f"average.{name}"] == 3).all(), name


def test_the_average_is_a_copy_that_training_does_not_touch(backbone):
    encoder = SelfEncoder(backbone)
    image = torch.rand(1, 3, 32, 32)
    before = encoder(image)

    set_all(backbone, 0.5)

    assert torch.equal(encoder(image), before)
    assert all(weight.requires_grad for weight in backbone.parameters())


def test_the_feature_is_the_mean_of_the_backbones_last_level(backbone):
    backbone.eval()
    image = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(SelfEncoder(backbone)(image), backbone(image)[-1].mean((-2, -1)))


def test_a_checkpoint_brings_the_average_back(backbone):
    encoder = SelfEncoder(backbone)
    set_all(backbone, 0.5)
    encoder.update(backbone, step=50)
    image = torch.rand(1, 3, 32, 32)

    again = SelfEncoder(SmallConv((4, 8, 8, 6)))
    again.load_state_dict(encoder.state_dict())

    assert torch.equal(again(image), encoder(image))


def test_two_random_encoders_differ_and_say_their_length():
    image = torch.rand(1, 3, 32, 32)
    first, second = RandomEncoder(8), RandomEncoder(8)
    assert first(image).shape == (1, first.dim) == (1, 8)
    assert not torch.equal(first(image), second(image))


def test_a_text_tower_is_named_where_there_is_none():
    with pytest.raises(ConfigError, match="medclip-released has no text tower; one of these has: clip"):
        build_text_encoder("medclip-released", None)


def test_an_encoder_without_an_address_asks_for_its_weights(backbone):
    with pytest.raises(ConfigError, match="medclip has no address on a hub; name its weights"):
        build_encoder("medclip", None, backbone)


@pytest.mark.parametrize("name", [*PRETRAINED])
def test_every_encoder_with_weights_has_a_card(name):
    assert name in CARDS
    assert CARDS[name].text == (name in TEXT)


def test_every_card_can_be_built():
    assert set(CARDS) == set(PRETRAINED)


@pytest.mark.parametrize("place", [*PRETRAINED.values(), *TEXT.values()])
def test_every_named_function_is_there(place):
    module, function = place.split(":")
    assert callable(getattr(import_module(f"histoproto.encoders.{module}"), function))


def bring(weights):
    return RandomEncoder(8), LoadedWeights(f"brought from {weights}", tensors=1)


def test_another_package_brings_an_encoder(backbone, monkeypatch):
    brought = EntryPoint("mine", f"{__name__}:bring", PLUGINS)
    monkeypatch.setattr("histoproto.encoders.registry.entry_points", lambda group: [brought])

    encoder, loaded = build_encoder("mine", "there", backbone)

    assert encoder.dim == 8
    assert loaded.source == "brought from there"
