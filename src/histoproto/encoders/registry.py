"""Encoders by name. A new one: its file, its line here, its line in the docs."""

from collections.abc import Callable
from difflib import get_close_matches

from histoproto.contracts import FeaturePyramid, ImageEncoder, LoadedWeights
from histoproto.encoders.random_conv import RandomEncoder
from histoproto.encoders.self_average import SelfEncoder
from histoproto.errors import ConfigError

Builder = Callable[[str | None, FeaturePyramid], tuple[ImageEncoder | None, LoadedWeights]]

NOTHING_LOADED = LoadedWeights("none")

ENCODERS: dict[str, Builder] = {
    "self": lambda _, backbone: (SelfEncoder(backbone), NOTHING_LOADED),
    "none": lambda _, backbone: (None, NOTHING_LOADED),
    "random": lambda _, backbone: (RandomEncoder(), NOTHING_LOADED),
}


def build_encoder(
    name: str, weights: str | None, backbone: FeaturePyramid
) -> tuple[ImageEncoder | None, LoadedWeights]:
    """Build a frozen encoder by name.

    Args:
        name: a key of ``ENCODERS``.
        weights: ``hf:org/name@revision``, a path, or None for the encoder's own address, if it has one.
        backbone: the method's backbone, of which ``self`` makes its copy.

    Returns:
        The encoder, or None for ``none`` (the method then leaves out its similarity loss), and what was loaded.

    Raises:
        ConfigError: if no encoder has this name.
        WeightsError: if its weights are missing or do not fit.
    """
    if name not in ENCODERS:
        close = get_close_matches(name, ENCODERS, n=1)
        hint = f" did you mean {close[0]}?" if close else ""
        raise ConfigError(f"unknown encoder {name!r};{hint} there are {', '.join(ENCODERS)}")
    return ENCODERS[name](weights, backbone)
