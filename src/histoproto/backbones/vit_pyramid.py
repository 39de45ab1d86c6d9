"""A plain vision transformer as a pyramid: four of its blocks, each resized to a level of its own.

Of a transformer of 12 blocks, blocks 3, 6, 9 and 12 become the levels (ConStruct, MIDL 2026). All have the grid of
patches; earlier ones are enlarged bilinearly, and the last may be averaged down. The transformer's last LayerNorm is
applied to each, as DINOv2 does for dense tasks: raw blocks share a few huge channels, and cosines between them hardly
differ.

A patch covers ``cell`` image pixels, the power of two nearest to its size: images are resized first where it has
another (DINOv2's 14 px), so that levels lie on the same strides as those of other backbones. Position embeddings are
interpolated to any input size.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from math import ceil, log2
from typing import Any

import timm
from jaxtyping import Float
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from histoproto.backbones.timm_pyramid import stated_licence
from histoproto.contracts import FeaturePyramid, LoadedWeights
from histoproto.errors import ConfigError
from histoproto.normalise import Normalise
from histoproto.weights import initialise

CONCH_LICENCE = "CC-BY-NC-ND-4.0, also for models trained on its outputs"
CONCH_MEAN = (0.48145466, 0.4578275, 0.40821073)
CONCH_STD = (0.26862954, 0.26130258, 0.27577711)
CONCH_SIDE_PX = 448
"""Side of the images that CONCH was trained with, for which its checkpoint holds position embeddings."""
CONCH_REST = ("text.", "text_decoder.", "logit_scale", "visual.attn_pool_", "visual.ln_", "visual.proj_")
"""Prefixes of everything in CONCH's checkpoint that is not the vision transformer."""
HEADS = ("head.",)
"""Prefixes of classification heads in published files."""
NEEDED = ("patch_embed", "blocks", "embed_dim", "forward_intermediates")
"""What a plain vision transformer of timm's has, and other networks have not, or not all of it."""

FACTORS = (0.25, 0.5, 1.0, 1.0)
"""Stride of each level against the grid of patches."""
RELEASED_FACTORS = (0.25, 0.5, 1.0, 2.0)
"""The released ConStruct halves the last level's sides: 7x7 at 224 px."""


class ViTPyramid(FeaturePyramid):
    """Levels from evenly spaced blocks, the last block last.

    Args:
        network: one of timm's vision transformers, made with ``dynamic_img_size``.
        normalise: input normalisation; ImageNet's where None.
        factors: stride of each level against the grid of patches, finest first.
    """

    def __init__(
        self, network: nn.Module, normalise: Normalise | None = None, factors: Sequence[float] = FACTORS
    ) -> None:
        super().__init__()
        transformer: Any = network
        self.network = network
        self.normalise = normalise or Normalise()
        self.patch_px = int(transformer.patch_embed.patch_size[0])
        self.cell_px = 2 ** round(log2(self.patch_px))
        blocks = len(transformer.blocks)
        self.blocks = [blocks * (level + 1) // len(factors) - 1 for level in range(len(factors))]
        self.channels = (int(transformer.embed_dim),) * len(factors)
        self.strides = tuple(int(factor * self.cell_px) for factor in factors)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Return one map per level, finest first."""
        height, width = images.shape[-2:]
        inputs = self._on_the_grid(self.normalise(images))
        transformer: Any = self.network
        grids = transformer.forward_intermediates(inputs, indices=self.blocks, norm=True, intermediates_only=True)
        return [
            _resized(grid, (ceil(height / stride), ceil(width / stride)))
            for grid, stride in zip(grids, self.strides, strict=True)
        ]

    def _on_the_grid(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 _height _width"]:
        """Return images of whole patches, each of which covers ``cell_px`` pixels."""
        size = [ceil(side / self.cell_px) * self.patch_px for side in images.shape[-2:]]
        if list(images.shape[-2:]) == size:
            return images
        return interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=True)


def _resized(grid: Tensor, size: tuple[int, int]) -> Tensor:
    if grid.shape[-2] > size[0]:
        return adaptive_avg_pool2d(grid, size)
    return grid if grid.shape[-2:] == size else interpolate(grid, size=size, mode="bilinear", align_corners=False)


def vit_pyramid(
    model: str, weights: str | None = None, normalise: Normalise | None = None
) -> tuple[ViTPyramid, LoadedWeights]:
    """Build a pyramid from one of timm's vision transformers.

    Args:
        model: timm's name, such as ``vit_small_patch14_dinov2``.
        weights: a state dict of the whole model, such as ``hf:timm/vit_small_patch14_dinov2.lvd142m``, or none.
        normalise: input normalisation; None for the one that timm states for this model.

    Raises:
        ConfigError: if timm has no such model, or it is no plain vision transformer.
        WeightsError: if the weights cannot be read or do not fit.
    """
    if not timm.is_model(model):
        close = get_close_matches(model, timm.list_models("*vit*"), n=1)
        hint = f"did you mean {close[0]}?" if close else "see timm.list_models('vit*')"
        raise ConfigError(f"timm has no model {model!r}; {hint}")
    try:
        network = timm.create_model(model, pretrained=False, num_classes=0, dynamic_img_size=True)
    except (TypeError, RuntimeError, AssertionError):
        network = None
    if network is None or not all(hasattr(network, name) for name in NEEDED):
        raise ConfigError(f"timm's {model} is no plain vision transformer; try timm:{model}")
    if normalise is None:
        stated = timm.get_pretrained_cfg(model)
        normalise = Normalise(stated.mean, stated.std) if stated else Normalise()
    pyramid = ViTPyramid(network, normalise)
    return pyramid, initialise(network, weights, ignore=HEADS, licence=stated_licence(weights))


def conch_pyramid(
    weights: str | None = None,
    normalise: Normalise | None = None,
    factors: Sequence[float] = FACTORS,
    trunk: VisionTransformer | None = None,
) -> tuple[ViTPyramid, LoadedWeights]:
    """Build a pyramid from CONCH's image tower, ViT-B/16, without its pooling.

    Args:
        weights: CONCH's own checkpoint, such as ``hf:MahmoodLab/conch``, or none.
        normalise: input normalisation; None for CONCH's own.
        factors: as for ``ViTPyramid``.
        trunk: another transformer than ViT-B/16, for checkpoints of the same form.

    Raises:
        WeightsError: if the weights cannot be read or do not fit.
    """
    network = trunk or VisionTransformer(img_size=CONCH_SIDE_PX, num_classes=0, dynamic_img_size=True)
    pyramid = ViTPyramid(network, normalise or Normalise(CONCH_MEAN, CONCH_STD), factors)
    return pyramid, initialise(network, weights, rename=_conch_names, ignore=CONCH_REST, licence=CONCH_LICENCE)


def _conch_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("module.").removeprefix("visual.trunk."): tensor for name, tensor in tensors.items()}
