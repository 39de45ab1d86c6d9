"""Encoders by name. A new one: its file, its card in ``cards.py``, its line here.

Another package announces an encoder in its ``pyproject.toml``::

    [project.entry-points."histoproto.encoders"]
    mine = "mypackage.mine:mine"        # weights -> (ImageEncoder, LoadedWeights)
"""

from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from histoproto.contracts import FeaturePyramid, ImageEncoder, LoadedWeights, TextEncoder
from histoproto.encoders.cards import CARDS
from histoproto.encoders.random_conv import RandomEncoder
from histoproto.encoders.self_average import SelfEncoder
from histoproto.errors import ConfigError

NOTHING_LOADED = LoadedWeights("none")
UNTRAINED: dict[str, Callable[[FeaturePyramid], ImageEncoder | None]] = {
    "self": SelfEncoder,
    "none": lambda _: None,
    "random": lambda _: RandomEncoder(),
}
"""Encoders that load nothing, made of the method's backbone."""

# Named by module and function, and imported when asked for: transformers and timm cost seconds.
PRETRAINED = {
    "clip": "clip:clip",
    "plip": "clip:plip",
    "medclip": "medclip:medclip",
    "medclip-released": "medclip:medclip_released",
    "conch": "conch:conch",
    "conch-224": "conch:conch_224",
    "conch-v1.5": "conch_v1_5:conch_v1_5",
    "dinov2-s": "dinov2:dinov2_s",
    "dinov2-b": "dinov2:dinov2_b",
    "dinov2-l": "dinov2:dinov2_l",
    "uni": "timm_vit:uni",
    "uni2-h": "timm_vit:uni2_h",
    "virchow2": "timm_vit:virchow2",
    "h-optimus-0": "timm_vit:h_optimus_0",
    "h-optimus-1": "timm_vit:h_optimus_1",
    "phikon-v2": "dinov2:phikon_v2",
    "hibou-b": "dinov2:hibou_b",
    "hibou-l": "dinov2:hibou_l",
    "kaiko-vits8": "timm_vit:kaiko_vits8",
    "kaiko-vits16": "timm_vit:kaiko_vits16",
    "kaiko-vitb8": "timm_vit:kaiko_vitb8",
    "kaiko-vitb16": "timm_vit:kaiko_vitb16",
    "kaiko-vitl14": "timm_vit:kaiko_vitl14",
}
"""Encoders with weights: a function from a source of weights."""
TEXT = {
    "clip": "clip:clip_text",
    "plip": "clip:plip_text",
    "medclip": "medclip:medclip_text",
    "conch": "conch:conch_text",
    "conch-224": "conch:conch_text",
}
"""The text towers among them."""
HUB = "hf:"
PLUGINS = "histoproto.encoders"
"""Entry-point group of other packages' encoders."""


def build_encoder(
    name: str, weights: str | None, backbone: FeaturePyramid
) -> tuple[ImageEncoder | None, LoadedWeights]:
    """Build a frozen image encoder by name.

    Args:
        name: a name of this file or of an installed package; ``hf:org/name@revision`` or a folder for any model in
            timm's hub format (the address of a named encoder, at any revision, means that encoder).
        weights: ``hf:org/name@revision``, a path, or None for the encoder's own address.
        backbone: the method's backbone, of which ``self`` makes its copy.

    Returns:
        The encoder, or None for ``none`` (the method then leaves out its similarity loss), and what was loaded.

    Raises:
        ConfigError: if no encoder has this name, or weights must be named.
        WeightsError: if its weights are missing or do not fit.
    """
    if name in UNTRAINED:
        return UNTRAINED[name](backbone), NOTHING_LOADED
    if name in PRETRAINED:
        return _function(PRETRAINED[name])(_source(name, weights))  # type: ignore[no-any-return]  # late import
    if name.startswith(HUB) or (Path(name) / "config.json").is_file():
        return _from_hub_folder(name, weights)
    plugins = {plugin.name: plugin for plugin in entry_points(group=PLUGINS)}
    if name in plugins:
        return plugins[name].load()(weights)  # type: ignore[no-any-return]  # another package's function
    raise _unknown(name, [*UNTRAINED, *PRETRAINED, *plugins])


def build_text_encoder(name: str, weights: str | None) -> tuple[TextEncoder, LoadedWeights]:
    """Build the text tower of an encoder.

    Args:
        name: an encoder that has one.
        weights: as for ``build_encoder``.

    Raises:
        ConfigError: if no encoder has this name, it has no text tower, or weights must be named.
        WeightsError: if its weights or its tokenizer are missing or do not fit.
    """
    if name in TEXT:
        return _function(TEXT[name])(_source(name, weights))  # type: ignore[no-any-return]  # late import
    if name in UNTRAINED or name in PRETRAINED:
        raise ConfigError(f"encoder {name} has no text tower; one of these has: {', '.join(TEXT)}")
    raise _unknown(name, list(TEXT))


def _from_hub_folder(source: str, weights: str | None) -> tuple[ImageEncoder, LoadedWeights]:
    if weights is not None:
        raise ConfigError(f"{source} brings its own weights; leave --encoder-weights out")
    address = source.partition("@")[0].lower()
    for name, card in CARDS.items():
        if card.source is not None and card.source.lower() == address:
            return _function(PRETRAINED[name])(source)  # type: ignore[no-any-return]  # late import
    return _function("hub_folder:hub_folder")(source)  # type: ignore[no-any-return]  # late import


def _function(place: str) -> Any:
    module, function = place.split(":")
    return getattr(import_module(f"histoproto.encoders.{module}"), function)


def _source(name: str, weights: str | None) -> str:
    source = weights or CARDS[name].source
    if source is None:
        raise ConfigError(f"encoder {name} has no address on a hub; name its weights, a file or a folder")
    return source


def _unknown(name: str, known: list[str]) -> ConfigError:
    close = get_close_matches(name, known, n=1)
    hint = f" did you mean {close[0]}?" if close else ""
    return ConfigError(f"unknown encoder {name!r};{hint} the encoders are {', '.join(known)}")
