"""Encoders by name. A new one: its file, its line here, its line in the docs."""

from collections.abc import Callable
from difflib import get_close_matches

from histoproto.contracts import FeaturePyramid, ImageEncoder
from histoproto.encoders.random_conv import RandomEncoder
from histoproto.encoders.self_average import SelfEncoder
from histoproto.errors import ConfigError

ENCODERS: dict[str, Callable[[FeaturePyramid], ImageEncoder | None]] = {
    "self": SelfEncoder,
    "none": lambda _: None,
    "random": lambda _: RandomEncoder(),
}


def build_encoder(name: str, backbone: FeaturePyramid) -> ImageEncoder | None:
    """Build a frozen encoder by name.

    Args:
        name: a key of ``ENCODERS``.
        backbone: the method's backbone, of which ``self`` makes its copy.

    Returns:
        The encoder, or None for ``none``: the method then leaves out its similarity loss.

    Raises:
        ConfigError: if no encoder has this name.
    """
    if name not in ENCODERS:
        close = get_close_matches(name, ENCODERS, n=1)
        hint = f" did you mean {close[0]}?" if close else ""
        raise ConfigError(f"unknown encoder {name!r};{hint} there are {', '.join(ENCODERS)}")
    return ENCODERS[name](backbone)
