import importlib
import re
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from torchvision.models import mobilenet_v2

from histoproto.backbones.small_conv import SmallConv
from histoproto.encoders.cards import CARDS
from histoproto.encoders.registry import PLUGINS, build_encoder, build_text_encoder
from histoproto.errors import ConfigError
from histoproto.wiring.encoders import load_encoder

PAGE = (Path(__file__).parents[2] / "docs" / "encoders.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CARDS)
def test_the_page_says_of_each_encoder_what_its_card_says(name):
    card = CARDS[name]
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:6] == [
        str(card.input_px),
        str(card.dim),
        "yes" if card.text else "",
        card.licence,
        "yes" if card.gated else "",
    ]
    if card.source:
        address = card.source.removeprefix("hf:")
        assert cells[6] == f"[{address}](https://huggingface.co/{address})"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The package that the page tells how to write."""
    blocks = dict(re.findall(r"\*\*`([\w./]+)`\*\*\n\n```\w+\n(.*?)```", PAGE, re.DOTALL))
    for name, text in blocks.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    announced = tomllib.loads(blocks["pyproject.toml"])["project"]["entry-points"][PLUGINS]
    plugins = [EntryPoint(name, place, PLUGINS) for name, place in announced.items()]
    monkeypatch.setattr("histoproto.encoders.registry.entry_points", lambda group: plugins)
    yield tmp_path
    for module in [name for name in sys.modules if name.partition(".")[0] == "mypackage"]:
        del sys.modules[module]


def test_the_recipe_of_the_page_works_and_passes_its_own_test(package, tmp_path):
    own_test = importlib.import_module("mypackage.test_mine")
    own_test.test_mine_is_frozen_and_passes_gradients_to_its_input(tmp_path)

    encoder, loaded = build_encoder("mine", str(tmp_path), SmallConv((4, 8, 8, 6)))

    assert encoder(torch.rand(1, 3, 50, 60)).shape == (1, 32)
    assert loaded.licence == "MIT"


def test_a_backbone_as_encoder_is_the_mean_of_its_trunks_last_level(tmp_path):
    trunk = mobilenet_v2(weights=None)
    torch.save(trunk.state_dict(), tmp_path / "trunk.pth")

    encoder, loaded = load_encoder("mobilenet-v2", str(tmp_path / "trunk.pth"))

    picture = torch.rand(2, 3, 64, 64)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    x = (picture - mean) / std
    with torch.no_grad():
        for layer in trunk.eval().features[:14]:
            x = layer(x)
        # the last stage keeps the finer grid, dilated, as MobileNetV2 pyramids have it
        expected = encoder.frozen.network.features[14:18](x).mean((-2, -1))
        torch.testing.assert_close(encoder(picture), expected, rtol=1e-4, atol=1e-6)
    assert encoder.dim == 320
    assert loaded.tensors > 200


@pytest.mark.parametrize("name", ["mobilenet-v2", "timm:resnet18"])
def test_a_backbone_as_encoder_needs_weights(name):
    with pytest.raises(ConfigError, match=f"{name} as encoder needs weights"):
        load_encoder(name, None)


@pytest.mark.parametrize("name", ["uni", "random", "medclip-released"])
def test_an_encoder_without_text_names_those_that_have_it(name):
    with pytest.raises(ConfigError, match=f"{name} has no text tower; one of these has: clip, plip, medclip, conch"):
        build_text_encoder(name, None)


def test_an_unknown_name_ends_in_a_sentence_with_a_near_one():
    with pytest.raises(ConfigError, match=r"unknown encoder 'virchow'; did you mean virchow2\?"):
        build_encoder("virchow", None, SmallConv((4, 8, 8, 6)))
