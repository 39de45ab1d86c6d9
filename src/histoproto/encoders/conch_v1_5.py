"""CONCH v1.5, the patch encoder of TITAN: its gated checkpoint, without its package.

Ding et al., "A multimodal whole-slide foundation model for pathology", Nature Medicine 2025. The checkpoint
(``pytorch_model_vision.bin``, from https://huggingface.co/MahmoodLab/conchv1_5 after accepting its terms) names its
tensors ``trunk.*``, ``attn_pool_contrast.*`` and ``ln_contrast.*``; its text tower is not published. The vision
transformer is timm's (Apache-2.0).

The published code holds positions of 14 × 14 patches and enlarges them to the 28 × 28 of 448 px with each image,
bicubically, by a factor with a tenth of a patch too much. Here the same happens once, when they are loaded.

Differences: images are resized as tensors, both sides, bilinearly with antialiasing (it resizes the shorter side and
crops), so that gradients reach the image. Sizes, names and positions were read in the published code, since the gated
weights themselves could not be opened: that they fit is proved only when they are loaded, tensor by tensor.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt

import torch
from jaxtyping import Float
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn.functional import interpolate, scaled_dot_product_attention

from histoproto.contracts import ImageEncoder, LoadedWeights
from histoproto.encoders.cards import CARDS, EncoderCard
from histoproto.encoders.resized import ResizedEncoder
from histoproto.weights import initialise


@dataclass(frozen=True)
class ConchV15Shape:
    """Sizes; those of the published ViT-L/16 unless given."""

    patch_px: int = 16
    width: int = 1024
    layers: int = 24
    heads: int = 16
    pool_heads: int = 8
    held_grid: int = 14
    """Patches along a side for which the published code holds positions."""


class AttentionPool(nn.Module):
    """One learned query that looks at all tokens; linear layers without bias, key and value in one.

    Args:
        width: of the tokens.
        dim: of the query and the result.
        heads: attention heads.
    """

    def __init__(self, width: int, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.randn(1, dim))
        self.ln_q = nn.LayerNorm(dim)
        self.ln_k = nn.LayerNorm(width)
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_kv = nn.Linear(width, 2 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim, bias=False)

    def forward(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch dim"]:
        """Return the query's answer per image."""
        query = self.to_q(self.ln_q(self.query)).expand(len(tokens), 1, -1)
        key, value = self.to_kv(self.ln_k(tokens)).chunk(2, dim=-1)
        split = [part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value)]
        answer: Tensor = self.to_out(scaled_dot_product_attention(*split).transpose(1, 2).flatten(2))
        return answer[:, 0]


class ConchV15Tower(nn.Module):
    """Vision transformer, attention pooling, LayerNorm.

    Args:
        card: side of the image and length of the vector.
        shape: sizes.
    """

    def __init__(self, card: EncoderCard, shape: ConchV15Shape) -> None:
        super().__init__()
        self.trunk = VisionTransformer(
            img_size=card.input_px,
            patch_size=shape.patch_px,
            embed_dim=shape.width,
            depth=shape.layers,
            num_heads=shape.heads,
            init_values=1.0,
            num_classes=0,
        )
        self.attn_pool_contrast = AttentionPool(shape.width, card.dim, shape.pool_heads)
        self.ln_contrast = nn.LayerNorm(card.dim)

    def forward(self, images: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch dim"]:
        """Return pooled vectors."""
        vectors: Tensor = self.ln_contrast(self.attn_pool_contrast(self.trunk.forward_features(images)))
        return vectors


def image_encoder(
    card: EncoderCard, weights: str, shape: ConchV15Shape | None = None
) -> tuple[ImageEncoder, LoadedWeights]:
    """Build CONCH v1.5's image tower; of ViT-L/16 unless a shape is given.

    Raises:
        WeightsError: if the weights are missing or do not fit.
    """
    shape = shape or ConchV15Shape()
    tower = ConchV15Tower(card, shape)

    def rename(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return _with_positions(tensors, shape.held_grid, card.input_px // shape.patch_px)

    loaded = initialise(tower, weights, rename=rename, licence=card.licence)
    return ResizedEncoder(tower, card, pretrained=bool(loaded.tensors)), loaded


def conch_v1_5(weights: str) -> tuple[ImageEncoder, LoadedWeights]:
    """Return CONCH v1.5's image side."""
    return image_encoder(CARDS["conch-v1.5"], weights)


def _with_positions(tensors: Mapping[str, Tensor], held_grid: int, grid: int) -> dict[str, Tensor]:
    """Return tensors with the positions as the published code uses them; those of no square picture stay."""
    name = "trunk.pos_embed"
    held = tensors.get(name)
    if held is None or held.ndim != 3 or isqrt(held.shape[1] - 1) ** 2 != held.shape[1] - 1:
        return dict(tensors)
    if held.shape[1] - 1 != held_grid**2:
        held = resample_abs_pos_embed(held, [held_grid] * 2, interpolation="bilinear", antialias=False)
    patches = held[:, 1:].unflatten(1, (held_grid, held_grid)).permute(0, 3, 1, 2)
    factor = (grid + 0.1) / held_grid
    patches = interpolate(patches, scale_factor=(factor, factor), mode="bicubic")
    return {**tensors, name: torch.cat([held[:, :1], patches.flatten(2).mT], dim=1)}
