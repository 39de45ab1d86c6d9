"""Any of timm's models that can return feature maps, as a pyramid.

https://github.com/huggingface/pytorch-image-models
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import timm
from jaxtyping import Float
from torch import Tensor, nn

from histoproto.backbones.frozen_norm import hold_statistics
from histoproto.contracts import FeaturePyramid, LoadedWeights
from histoproto.errors import ConfigError
from histoproto.normalise import Normalise
from histoproto.weights import initialise

TIMM_ON_HUB = "hf:timm/"
FINEST_STRIDE = 4
"""Levels finer than this are left out unless asked for: they hold edges rather than tissue."""


class TimmPyramid(FeaturePyramid):
    """Levels of one of timm's models.

    Args:
        network: made by timm with ``features_only``.
        normalise: input normalisation.
        frozen_norm: whether BatchNorm keeps its running statistics while everything else trains.
    """

    def __init__(self, network: nn.Module, normalise: Normalise, frozen_norm: bool = False) -> None:
        super().__init__()
        information: Any = network.feature_info
        self.channels = tuple(information.channels())
        self.strides = tuple(information.reduction())
        self.normalise = normalise
        self.frozen_norm = frozen_norm
        self.network = network
        self.channels_last = str(getattr(network, "output_fmt", "")).endswith("NHWC")
        self.train()

    def train(self, mode: bool = True) -> "TimmPyramid":
        """Set the mode of everything but a frozen BatchNorm."""
        super().train(mode)
        if self.frozen_norm:
            hold_statistics(self)
        return self

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Return one map per level, finest first."""
        levels = self.network(self.normalise(images))
        return [level.movedim(-1, 1) for level in levels] if self.channels_last else list(levels)


def timm_pyramid(
    model: str,
    weights: str | None = None,
    normalise: Normalise | None = None,
    out_indices: Sequence[int] | None = None,
    output_stride: int | None = None,
    frozen_norm: bool = False,
) -> tuple[TimmPyramid, LoadedWeights]:
    """Build a pyramid from one of timm's models.

    Args:
        model: timm's name, such as ``resnet18``.
        weights: a state dict of the whole model, such as ``hf:timm/resnet18.a1_in1k``, or none.
        normalise: input normalisation; None for the one that timm states for this model.
        out_indices: timm's numbers of the levels; None for all from stride 4 upwards.
        output_stride: 8 or 16 to keep the last levels finer by dilation, where the model can.
        frozen_norm: whether BatchNorm keeps its running statistics.

    Raises:
        ConfigError: if timm has no such model, or the model cannot do what is asked.
        WeightsError: if the weights cannot be read or do not fit.
    """
    if not timm.is_model(model):
        close = get_close_matches(model, timm.list_models(), n=1)
        hint = f"did you mean {close[0]}?" if close else "see timm.list_models()"
        raise ConfigError(f"timm has no model {model!r}; {hint}")
    options: dict[str, Any] = {"features_only": True}
    if output_stride is not None:
        options["output_stride"] = output_stride
    if out_indices is None:
        every = _create(model, options).feature_info
        numbered = zip(every.out_indices, every.reduction(), strict=True)
        out_indices = [index for index, stride in numbered if stride >= FINEST_STRIDE]
    network = _create(model, {**options, "out_indices": tuple(out_indices)})
    if normalise is None:
        stated = timm.get_pretrained_cfg(model)
        normalise = Normalise(stated.mean, stated.std) if stated else Normalise()
    pyramid = TimmPyramid(network, normalise, frozen_norm)

    def rename(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        own = {_common_name(name.removeprefix("network.")): name for name in pyramid.state_dict()}
        # Tensors that the whole model has and its pyramid has not belong to its head.
        head = {_common_name(name) for name in timm.create_model(model).state_dict()} - own.keys()
        common = {_common_name(name): tensor for name, tensor in tensors.items()}
        return {own.get(name, name): tensor for name, tensor in common.items() if name not in head}

    return pyramid, initialise(pyramid, weights, rename=rename, licence=stated_licence(weights))


def stated_licence(weights: str | None) -> str | None:
    """Return the licence that timm states for weights of its own on the hub; None of all others, which nobody knows.

    Args:
        weights: their source, such as ``hf:timm/resnet18.a1_in1k``.
    """
    if weights is None or not weights.startswith(TIMM_ON_HUB):
        return None
    name = weights.removeprefix(TIMM_ON_HUB).partition("@")[0]
    stated = timm.get_pretrained_cfg(name) if timm.is_model_pretrained(name) else None
    return f"{stated.license}, as timm states" if stated is not None and stated.license else None


def _create(model: str, options: Mapping[str, Any]) -> Any:
    try:
        return timm.create_model(model, pretrained=False, **options)
    except (RuntimeError, TypeError, IndexError, AssertionError, NotImplementedError) as error:
        asked = ", ".join(f"{name}={value}" for name, value in options.items())
        raise ConfigError(f"timm's {model} cannot be built with {asked}: {error}") from None


def _common_name(name: str) -> str:
    # timm's feature extractors write stages.0 as stages_0, or put the model below "model."
    return name.removeprefix("model.").replace("_", ".")
