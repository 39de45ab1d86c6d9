"""Any model in timm's hub format as encoder: a folder or repository with ``config.json`` and its tensors.

``config.json`` names the ``architecture``, perhaps its ``model_args`` and ``global_pool``, and under
``pretrained_cfg`` the input's size, mean and standard deviation. What it cannot or does not say is taken from the
tensors: whether a transformer has layer scale, and whether its blocks are gated (SwiGLU). Where it leaves the pooling
open (``global_pool`` empty), a transformer's vector is its class token and the mean of its patch tokens, as for
Virchow2.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from histoproto.contracts import ImageEncoder, LoadedWeights
from histoproto.encoders.cards import EncoderCard
from histoproto.encoders.resized import ResizedEncoder
from histoproto.encoders.timm_vit import GATED_MLP, ClassAndMean
from histoproto.errors import WeightsError
from histoproto.normalise import IMAGENET_MEAN, IMAGENET_STD
from histoproto.weights import fill, read_weights

CONFIG = "config.json"
USUAL_INPUT = (3, 224, 224)


def hub_folder(source: str) -> tuple[ImageEncoder, LoadedWeights]:
    """Build the encoder that a hub folder describes.

    Args:
        source: ``hf:organisation/name@revision`` or a folder.

    Raises:
        WeightsError: if it cannot be found or read, is in another format than timm's, or its tensors do not fit.
    """
    tensors, found = read_weights(source)
    config = _read_config(source)
    stated = config.get("pretrained_cfg") or {}
    model = _model(source, config, tensors)
    found = replace(found, tensors=fill(model, tensors, source, _head(model)), licence=_licence(source, stated))
    open_pooling = config.get("global_pool", None) == "" and isinstance(model, VisionTransformer)
    network: nn.Module = ClassAndMean(model) if open_pooling else model
    side = int(tuple(stated.get("input_size") or USUAL_INPUT)[-1])
    card = EncoderCard(
        source,
        side,
        _dim(network, side, source),
        tuple(stated.get("mean") or IMAGENET_MEAN),
        tuple(stated.get("std") or IMAGENET_STD),
        found.licence or "not stated",
    )
    return ResizedEncoder(network, card, pretrained=True), found


def _read_config(source: str) -> dict[str, Any]:
    """Return ``config.json``, in timm's format.

    Raises:
        WeightsError: if there is none, or it is of another format.
    """
    try:
        file = config_file(source)
        config = json.loads(file.read_text(encoding="utf-8"))
    except (HfHubHTTPError, EntryNotFoundError, OSError, ValueError) as error:
        raise WeightsError(
            f"{source}: {CONFIG} is missing or damaged ({type(error).__name__}); take one of the encoders that "
            "histoproto doctor --encoders lists, with this as its --encoder-weights"
        ) from None
    if not isinstance(config, dict) or not isinstance(config.get("architecture"), str):
        kind = config.get("model_type") if isinstance(config, dict) else None
        whose = f"is of transformers ({kind})" if kind else "names no architecture"
        raise WeightsError(
            f"{source}: {CONFIG} {whose}, so this is not timm's format; take one of the encoders that histoproto "
            "doctor --encoders lists, with this as its --encoder-weights"
        )
    return config


def config_file(source: str) -> Path:
    """Return ``config.json`` of a folder or hub repository; whether it is there is left to the reader."""
    if not source.startswith("hf:"):
        return Path(source).expanduser() / CONFIG
    repository, _, revision = source.removeprefix("hf:").partition("@")
    return Path(hf_hub_download(repository, CONFIG, revision=revision or None))


def _model(source: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> nn.Module:
    """Return the network without weights and without a head."""
    stated = config.get("pretrained_cfg") or {}
    options: dict[str, Any] = dict(config.get("model_args") or {})
    if config.get("global_pool"):
        options.setdefault("global_pool", config["global_pool"])
    if stated.get("fixed_input_size") and stated.get("input_size"):
        options.setdefault("img_size", tuple(stated["input_size"])[-1])
    options |= _unsaid(tensors, options) | {"num_classes": 0}
    try:
        return timm.create_model(config["architecture"], pretrained=False, **options)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise WeightsError(
            f"{source}: this version of timm cannot build {config['architecture']} as {CONFIG} asks for it "
            f"({' '.join(str(error).split())}); upgrade timm or mend {CONFIG}"
        ) from None


def _unsaid(tensors: Mapping[str, Tensor], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the tensors show of a transformer's blocks and the settings do not say."""
    unsaid: dict[str, Any] = {}
    if "blocks.0.ls1.gamma" in tensors and "init_values" not in options:
        unsaid["init_values"] = 1e-5  # any number: the tensors take its place
    first, second = tensors.get("blocks.0.mlp.fc1.weight"), tensors.get("blocks.0.mlp.fc2.weight")
    if first is not None and second is not None and first.shape[0] == 2 * second.shape[-1]:
        unsaid |= GATED_MLP
    return unsaid


def _head(model: Any) -> tuple[str, ...]:
    """Return prefixes of the classification head, which the network was built without."""
    names = model.pretrained_cfg.get("classifier") or ()
    return tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))


def _dim(network: nn.Module, side: int, source: str) -> int:
    """Return the length of the vector, by trying.

    Raises:
        WeightsError: if the network takes no images of this size, or returns something else than vectors.
    """
    try:
        with torch.no_grad():
            shape = tuple(network.eval()(torch.zeros(1, 3, side, side)).shape)
    except (RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{source}: the network takes no images of {side} px ({reason}); mend {CONFIG}") from None
    if len(shape) != 2:
        raise WeightsError(
            f"{source}: the network returns {shape} for an image, not one vector; write a global_pool, such as avg, "
            f"into its {CONFIG}"
        )
    return int(shape[1])


def _licence(source: str, stated: Mapping[str, Any]) -> str | None:
    if stated.get("license"):
        return str(stated["license"])
    if source.startswith("hf:"):
        return f"see https://huggingface.co/{source.removeprefix('hf:').partition('@')[0]}"
    return None
