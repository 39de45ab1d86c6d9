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


def _resnet(variant: str, weights: str | None, normalise: Normalise | None, **options: Any) -> Any:
    from histoproto.backbones.resnet import resnet

    return resnet(variant, weights, normalise, **options)


def _resnet38d(weights: str | None, normalise: Normalise | None, **options: Any) -> Any:
    from histoproto.backbones.resnet38d import resnet38d

    return resnet38d(weights, normalise, **options)


def _transunet(weights: str | None, normalise: Normalise | None, **options: Any) -> Any:
    from histoproto.backbones.transunet import transunet

    return transunet(weights, normalise, **options)


def _timm(model: str, weights: str | None, normalise: Normalise | None, **options: Any) -> Any:
    from histoproto.backbones.timm_pyramid import timm_pyramid

    return timm_pyramid(model, weights, normalise, **options)


def _vit(model: str, weights: str | None, normalise: Normalise | None, **options: Any) -> Any:
    from histoproto.backbones.vit_pyramid import vit_pyramid

    return vit_pyramid(model, weights, normalise, **options)


def _conch(weights: str | None, normalise: Normalise | None, **options: Any) -> Any:
    from histoproto.backbones.vit_pyramid import conch_pyramid

    return conch_pyramid(weights, normalise, **options)


def _conch_released(weights: str | None, normalise: Normalise | None, **options: Any) -> Any:
    from histoproto.backbones.vit_pyramid import RELEASED_FACTORS, conch_pyramid

    return conch_pyramid(weights, normalise, RELEASED_FACTORS, **options)


BACKBONES: dict[str, Builder] = {
    "small-conv": _small_conv,
    "mobilenet-v2": _mobilenet_v2,
    "mit-b0": partial(_mit, "b0"),
    "mit-b1": partial(_mit, "b1"),
    "mit-b2": partial(_mit, "b2"),
    "mit-b3": partial(_mit, "b3"),
    "mit-b4": partial(_mit, "b4"),
    "mit-b5": partial(_mit, "b5"),
    "resnet-18": partial(_resnet, "18"),
    "resnet-50": partial(_resnet, "50"),
    "resnet-38d": _resnet38d,
    "transunet": _transunet,
    "conch": _conch,
    "conch-released": _conch_released,
}
FAMILIES: dict[str, Builder] = {"timm:": _timm, "vit:": _vit}
"""Prefixes before timm's own names: any of its models that can return features, as in ``timm:resnet18``, and any of
its plain vision transformers as a pyramid, as in ``vit:vit_small_patch14_dinov2``."""


def is_backbone(name: str) -> bool:
    """Return whether a backbone has this name."""
    return name in BACKBONES or name.startswith(tuple(FAMILIES))


def build_backbone(
    name: str, weights: str | None = None, normalise: Normalise | None = None, **options: Any
) -> tuple[FeaturePyramid, LoadedWeights]:
    """Build a backbone by name.

    Args:
        name: a key of ``BACKBONES``, or ``timm:`` or ``vit:`` and a model's name.
        weights: ``none`` or None (random), a file, a folder, or ``hf:organisation/name@revision``.
        normalise: input normalisation; None for the one that the backbone's weights were trained with.
        **options: arguments of the backbone's own function, such as ``strides`` of MiT.

    Raises:
        ConfigError: if no backbone has this name.
    """
    for prefix, builder in FAMILIES.items():
        if name.startswith(prefix):
            return builder(name.removeprefix(prefix), weights, normalise, **options)
    if name not in BACKBONES:
        close = get_close_matches(name, BACKBONES, n=1)
        hint = f" did you mean {close[0]}?" if close else ""
        families = " and ".join(f"{prefix}<model>" for prefix in FAMILIES)
        raise ConfigError(f"unknown backbone {name!r};{hint} there are {', '.join(BACKBONES)}, {families}")
    return BACKBONES[name](weights, normalise, **options)
