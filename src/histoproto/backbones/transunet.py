"""TransUNet's hybrid encoder as a pyramid: a ResNet whose last map goes through a vision transformer.

Chen et al., "TransUNet: Transformers Make Strong Encoders for Medical Image Segmentation", 2021; the encoder is
R50+ViT-B/16 of Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021. The ResNet has 3, 4 and 9 blocks,
convolutions with standardised weights and GroupNorm. Its stages are the levels at strides 4, 8 and 16 (TransUNet's
skip connections come from strides 2, 4 and 8); the transformer's patches are single cells of the last, and its last
LayerNorm gives the coarsest level. The layers are timm's. Position embeddings are interpolated to any input size.

Differences: the class token stays among the tokens, as these weights were trained with it; TransUNet drops it. The
ResNet's levels end in a BatchNorm of their own that learns from the study: after a ReLU all pixels point in much the
same direction, and cosines between them hardly differ.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from jaxtyping import Float
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from histoproto.backbones.jax_archive import read_archive
from histoproto.contracts import FeaturePyramid, LoadedWeights
from histoproto.normalise import Normalise
from histoproto.weights import fill, initialise

MODEL = "vit_base_r50_s16_224"
"""timm's name of R50+ViT-B/16."""
LICENCE = "Apache-2.0 (Google); trained on ImageNet-21k, which is for non-commercial research"
HEADS = ("head.", "pre_logits.")
"""Prefixes of classification heads in published files."""
MEAN = STD = (0.5, 0.5, 0.5)
"""Input normalisation of the published weights."""


class TransUNet(FeaturePyramid):
    """Levels of 256, 512 and 1024 channels of the ResNet at strides 4, 8 and 16, and 768 of the transformer at 16.

    Args:
        network: one of timm's hybrids of a three-stage ResNet and a vision transformer.
        normalise: input normalisation; that of the published weights where None.
    """

    def __init__(self, network: VisionTransformer, normalise: Normalise | None = None) -> None:
        super().__init__()
        transformer: Any = network
        self.network = network
        self.normalise = normalise or Normalise(MEAN, STD)
        convolutional = [int(stage["num_chs"]) for stage in transformer.patch_embed.backbone.feature_info[1:]]
        self.channels = (*convolutional, int(transformer.embed_dim))
        self.strides = (4, 8, 16, 16)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in convolutional)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Return four maps, finest first, of any sign."""
        embedding: Any = self.network.patch_embed
        x = embedding.backbone.stem(self.normalise(images))
        levels = []
        for stage, norm in zip(embedding.backbone.stages, self.norms, strict=True):
            x = stage(x)
            levels.append(norm(x))
        return [*levels, self._attend(embedding.proj(x))]

    def _attend(self, grid: Float[Tensor, "batch dim height width"]) -> Float[Tensor, "batch dim height width"]:
        """Return what the transformer makes of a grid of patches."""
        network: Any = self.network
        cells = grid.flatten(2).transpose(1, 2)  # (B, h * w, D)
        tokens = torch.cat([network.cls_token.expand(len(cells), -1, -1), cells], dim=1)
        tokens = tokens + resample_abs_pos_embed(network.pos_embed, list(grid.shape[-2:]))
        tokens = network.norm(network.blocks(network.norm_pre(tokens)))
        attended: Tensor = tokens[:, 1:].transpose(1, 2).unflatten(2, grid.shape[-2:])
        return attended


def transunet(
    weights: str | None = None, normalise: Normalise | None = None, network: VisionTransformer | None = None
) -> tuple[TransUNet, LoadedWeights]:
    """Build TransUNet's hybrid encoder.

    Args:
        weights: timm's state dict, such as ``hf:timm/vit_base_r50_s16_224.orig_in21k``, Google's ``R50+ViT-B_16.npz``,
            or none; trained on images of any size.
        normalise: input normalisation; None for that of the published weights.
        network: another hybrid than R50+ViT-B/16, for files of the same form.

    Raises:
        WeightsError: if the weights cannot be read or do not fit.
    """
    hybrid: Any = network or timm.create_model(MODEL, pretrained=False, num_classes=0)
    pyramid = TransUNet(hybrid, normalise)

    def rename(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        positions = {name: _resized(tensor, hybrid) for name, tensor in tensors.items() if name == "pos_embed"}
        return {**tensors, **positions}

    if weights is not None and Path(weights).suffix == ".npz":
        tensors, sha256 = read_archive(Path(weights).expanduser())
        loaded = fill(hybrid, rename(tensors), weights, HEADS)
        return pyramid, LoadedWeights(weights, sha256, loaded, LICENCE)
    return pyramid, initialise(hybrid, weights, rename=rename, ignore=HEADS, licence=LICENCE)


def _resized(positions: Tensor, network: VisionTransformer) -> Tensor:
    """Return position embeddings of the network's own grid."""
    embedding: Any = network.patch_embed
    resized: Tensor = resample_abs_pos_embed(positions, list(embedding.grid_size))
    return resized
