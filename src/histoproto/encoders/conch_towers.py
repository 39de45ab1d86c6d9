"""CONCH's two towers, with the names and the arithmetic of its checkpoint.

Lu et al., "A visual-language foundation model for computational pathology", Nature Medicine 2024, after Yu et al.,
"CoCa: Contrastive Captioners are Image-Text Foundation Models", TMLR 2022. Written from the published description,
the names and sizes in the checkpoint and the conventions of the published code; no line is taken over. The vision
transformer is timm's (Apache-2.0). The captioning decoder and its pooling are left out.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn.functional import gelu

from histoproto.encoders.cards import EncoderCard
from histoproto.encoders.tokens import Vocabulary

VOCABULARY = Vocabulary(32007, 127, fixed=True)
"""One token less than the 128 positions: the last one is the class token's."""


@dataclass(frozen=True)
class ConchShape:
    """Sizes of both towers; those of CONCH ViT-B/16 unless given."""

    patch_px: int = 16
    width: int = 768
    layers: int = 12
    heads: int = 12
    pool_heads: int = 8
    text_width: int = 768
    text_layers: int = 12
    text_heads: int = 12
    vocabulary: Vocabulary = VOCABULARY


class AttentionPool(nn.Module):
    """One learned query that looks at all tokens of the vision transformer, the class token among them.

    Args:
        width: of the tokens.
        dim: of the query and the result.
        heads: attention heads.
    """

    def __init__(self, width: int, dim: int, heads: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, dim))
        self.ln_q = nn.LayerNorm(dim)
        self.ln_k = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(dim, heads, kdim=width, vdim=width, batch_first=True)

    def forward(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch dim"]:
        """Return the query's answer per image."""
        keys = self.ln_k(tokens)
        queries = self.ln_q(self.query).expand(len(tokens), -1, -1)
        pooled: Tensor = self.attn(queries, keys, keys, need_weights=False)[0][:, 0]
        return pooled


class ConchImageTower(nn.Module):
    """``visual.*``: vision transformer, attention pooling, LayerNorm, projection.

    Args:
        card: side of the image and length of the vector.
        shape: sizes.
    """

    def __init__(self, card: EncoderCard, shape: ConchShape) -> None:
        super().__init__()
        self.trunk = VisionTransformer(
            img_size=card.input_px,
            patch_size=shape.patch_px,
            embed_dim=shape.width,
            depth=shape.layers,
            num_heads=shape.heads,
            num_classes=0,
        )
        self.attn_pool_contrast = AttentionPool(shape.width, card.dim, shape.pool_heads)
        self.ln_contrast = nn.LayerNorm(card.dim)
        self.proj_contrast = nn.Parameter(torch.randn(card.dim, card.dim) * card.dim**-0.5)

    def forward(self, images: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch dim"]:
        """Return projected vectors."""
        pooled: Tensor = self.ln_contrast(self.attn_pool_contrast(self.trunk.forward_features(images)))
        return pooled @ self.proj_contrast


class Block(nn.Module):
    """Transformer block with normalisation before attention and before the two linear layers.

    Args:
        width: of the tokens.
        heads: attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})

    def forward(
        self,
        tokens: Float[Tensor, "sentences positions width"],
        hidden: Bool[Tensor, "heads_of_sentences positions positions"],
    ) -> Float[Tensor, "sentences positions width"]:
        """Return changed tokens; where ``hidden`` is true, the second position is out of the first's sight."""
        normed = self.ln_1(tokens)
        tokens = tokens + self.attn(normed, normed, normed, need_weights=False, attn_mask=hidden)[0]
        change: Tensor = self.mlp["c_proj"](gelu(self.mlp["c_fc"](self.ln_2(tokens))))
        return tokens + change


class Transformer(nn.Module):
    """Blocks one after the other.

    Args:
        width: of the tokens.
        layers: number of blocks.
        heads: attention heads.
    """

    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads) for _ in range(layers))

    def forward(
        self,
        tokens: Float[Tensor, "sentences positions width"],
        hidden: Bool[Tensor, "heads_of_sentences positions positions"],
    ) -> Float[Tensor, "sentences positions width"]:
        """Return the last block's tokens."""
        for block in self.resblocks:
            tokens = block(tokens, hidden)
        return tokens


class ConchTextTower(nn.Module):
    """``text.*``: causal transformer with a learned class token at the last position, LayerNorm, projection.

    The class token's sight follows from how the checkpoint was trained: position 0 is always seen, and position
    j + 1 where token j is no padding, so that the mask stands one place to the right of the tokens. A sentence that
    does not fill the context is thus read with one padding token behind it, and without the class token itself.

    Args:
        card: length of the vector.
        shape: sizes.
    """

    def __init__(self, card: EncoderCard, shape: ConchShape) -> None:
        super().__init__()
        width, positions = shape.text_width, shape.vocabulary.context + 1
        self.heads = shape.text_heads
        self.token_embedding = nn.Embedding(shape.vocabulary.tokens, width)
        self.positional_embedding = nn.Parameter(torch.randn(positions, width) * 0.01)
        self.cls_emb = nn.Parameter(torch.randn(width) * 0.01)
        self.transformer = Transformer(width, shape.text_layers, shape.text_heads)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.randn(width, card.dim) * width**-0.5)

    def forward(
        self, ids: Int[Tensor, "sentences context"], real: Bool[Tensor, "sentences context"]
    ) -> Float[Tensor, "sentences dim"]:
        """Return projected class tokens; every sentence fills the context."""
        classes = self.cls_emb.expand(len(ids), 1, -1)
        tokens = torch.cat([self.token_embedding(ids), classes], dim=1) + self.positional_embedding
        hidden = hidden_positions(real).repeat_interleave(self.heads, dim=0)
        normed: Tensor = self.ln_final(self.transformer(tokens, hidden)[:, -1])
        return normed @ self.text_projection


def hidden_positions(real: Bool[Tensor, "sentences context"]) -> Bool[Tensor, "sentences positions positions"]:
    """Return which position (last axis) each position (second axis) does not see; the class token is the last."""
    sentences, context = real.shape
    causal = torch.ones(context + 1, context + 1, dtype=torch.bool, device=real.device).triu(1)
    hidden = causal.expand(sentences, -1, -1).clone()
    hidden[:, -1, 1:] = ~real
    return hidden
