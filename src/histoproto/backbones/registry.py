"""Backbones by name. A new one: its file, its line here, its line in the docs."""

from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from typing import Any

from histoproto.contracts import FeaturePyramid, LoadedWeights
from histoproto.errors import ConfigError
from histoproto.normalise import Normalise

Builder = Callable[..., tuple[FeaturePyramid, LoadedWeights]]

# The builders import late: transformers, timm and torchvision cost seconds, and a run needs one of them.


def _small_conv(weights: str | None, normalise: Normalise | None, **options: Any) -> Any:
    from histoproto.backbones.small_conv import small_conv

    return small_conv(weights, normalise, **options)


def _mobilenet_v2(weights: str | None, normalise: Normalise | None, **options: Any) -> Any:
    from histoproto.backbones.mobilenet import mobilenet_v2

    return mobilenet_v2(weights, normalise, **options)


def _mit(variant: str, weights: str | None, normalise: Normalise | None, **options: Any) -> Any:
    from histoproto.backbones.mit import mit

    return mit(variant, weights, normalise, **options)


def _timm(model: str, weights: str | None, normalise: Normalise | None, **options: Any) -> Any:
    from histoproto.backbones.timm_pyramid import timm_pyramid

    return timm_pyramid(model, weights, normalise, **options)


BACKBONES: dict[str, Builder] = {
    "small-conv": _small_conv,
    "mobilenet-v2": _mobilenet_v2,
    "mit-b0": partial(_mit, "b0"),
    "mit-b1": partial(_mit, "b1"),
    "mit-b2": partial(_mit, "b2"),
    "mit-b3": partial(_mit, "b3"),
    "mit-b4": partial(_mit, "b4"),
    "mit-b5": partial(_mit, "b5"),
}
TIMM = "timm:"
"""Prefix of any of timm's models that can return features, as in ``timm:resnet18``."""


def build_backbone(
    name: str, weights: str | None = None, normalise: Normalise | None = None, **options: Any
) -> tuple[FeaturePyramid, LoadedWeights]:
    """Build a backbone by name.

    Args:
        name: a key of ``BACKBONES``, or ``timm:`` and a model's name.
        weights: ``none`` or None (random), a file, a folder, or ``hf:organisation/name@revision``.
        normalise: input normalisation; None for the one that the backbone's weights were trained with.
        **options: arguments of the backbone's own function, such as ``strides`` of MiT.

    Raises:
        ConfigError: if no backbone has this name.
    """
    if name.startswith(TIMM):
        return _timm(name.removeprefix(TIMM), weights, normalise, **options)  # type: ignore[no-any-return]  # late import
    if name not in BACKBONES:
        close = get_close_matches(name, BACKBONES, n=1)
        hint = f" did you mean {close[0]}?" if close else ""
        raise ConfigError(f"unknown backbone {name!r};{hint} there are {', '.join(BACKBONES)} and {TIMM}<model>")
    return BACKBONES[name](weights, normalise, **options)
