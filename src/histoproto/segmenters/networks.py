"""Networks by name: architectures of segmentation-models-pytorch, and DeepLab-v2."""

import inspect
from difflib import get_close_matches
from typing import Any

import segmentation_models_pytorch as smp
from segmentation_models_pytorch.encoders import encoders as known_encoders
from segmentation_models_pytorch.encoders import get_encoder
from torch import nn

from histoproto.contracts import FeaturePyramid
from histoproto.errors import ConfigError
from histoproto.segmenters.deeplab_v2 import DeepLabV2
from histoproto.segmenters.pyramid_encoder import PyramidEncoder, registered

DEEPLAB_V2 = "deeplab-v2"
ARCHITECTURES: dict[str, Any] = {
    name: getattr(smp, spelled)
    for name, spelled in (
        ("unet", "Unet"),
        ("unetplusplus", "UnetPlusPlus"),
        ("manet", "MAnet"),
        ("linknet", "Linknet"),
        ("fpn", "FPN"),
        ("pspnet", "PSPNet"),
        ("pan", "PAN"),
        ("deeplabv3", "DeepLabV3"),
        ("deeplabv3plus", "DeepLabV3Plus"),
        ("upernet", "UPerNet"),
        ("segformer", "Segformer"),
        ("dpt", "DPT"),
    )
}
FINEST_CHANNELS = 16
"""Decoder channels at full resolution; twice as many at each halving."""


def build_network(arch: str, encoder: str | FeaturePyramid, outputs: int) -> nn.Module:
    """Build a network from images to ``outputs`` maps of the same size, from random weights.

    Args:
        arch: a key of ``ARCHITECTURES``, or ``deeplab-v2``.
        encoder: the library's own name of an encoder, or one of our backbones.
        outputs: number of maps.

    Raises:
        ConfigError: if there is no such architecture or encoder, or the two do not fit.
    """
    if arch != DEEPLAB_V2 and arch not in ARCHITECTURES:
        close = get_close_matches(arch, [*ARCHITECTURES, DEEPLAB_V2], n=1)
        hint = f" did you mean {close[0]}?" if close else ""
        raise ConfigError(f"unknown architecture {arch!r};{hint} there are {DEEPLAB_V2}, {', '.join(ARCHITECTURES)}")
    if isinstance(encoder, str):
        _check_encoder(encoder)
    try:
        if isinstance(encoder, str):
            return _on(arch, encoder, outputs)
        adapted = PyramidEncoder(encoder)
        if arch == DEEPLAB_V2:
            adapted.make_dilated(DeepLabV2.stride)
            return DeepLabV2(adapted, adapted.out_channels[-1], outputs)
        with registered(adapted) as name:
            return _on(arch, name, outputs, depth=len(adapted.strides))
    except (KeyError, ValueError, RuntimeError, TypeError) as error:
        named = encoder if isinstance(encoder, str) else "this backbone"
        hint = "; dpt takes timm's encoders alone: --encoder smp:tu-.." if arch == "dpt" else ""
        raise ConfigError(f"{arch} cannot be built on {named}: {' '.join(str(error).split())[:300]}{hint}") from None


def _check_encoder(name: str) -> None:
    if name in known_encoders or name.startswith("tu-"):
        return
    close = get_close_matches(name, known_encoders, n=1)
    hint = f"did you mean smp:{close[0]}? " if close else ""
    raise ConfigError(
        f"unknown encoder smp:{name}; {hint}segmentation-models-pytorch has {', '.join(list(known_encoders)[:6])} and "
        "others, and timm's as smp:tu-NAME"
    )


def _on(arch: str, encoder: str, outputs: int, depth: int = 5) -> nn.Module:
    if arch == DEEPLAB_V2:
        dilated = get_encoder(encoder, depth=5, weights=None, output_stride=DeepLabV2.stride)
        return DeepLabV2(dilated, dilated.out_channels[-1], outputs)
    kind = ARCHITECTURES[arch]
    options: dict[str, Any] = {}
    accepted = inspect.signature(kind.__init__).parameters
    if depth != 5:
        if "encoder_depth" not in accepted:
            raise ValueError(
                f"it needs five halvings, and the backbone has {depth}; take an encoder such as smp:resnet18"
            )
        options["encoder_depth"] = depth
        channels = accepted.get("decoder_channels")
        if channels is not None and isinstance(channels.default, tuple | list):
            options["decoder_channels"] = [FINEST_CHANNELS * 2**power for power in reversed(range(depth))]
    network: nn.Module = kind(encoder, encoder_weights=None, classes=outputs, **options)
    return network
