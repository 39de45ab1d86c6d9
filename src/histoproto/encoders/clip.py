"""CLIP ViT-B/32 and PLIP, the same network trained further on pathology pictures and captions.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021; Huang et al.,
"A visual-language foundation model for pathology image analysis using medical Twitter", Nature Medicine 2023.
The code is transformers' (Apache-2.0). Weights are in the hub's format, with the tokenizer next to them.

Differences from the published processor: images are resized as tensors, both sides to 224 px, bilinearly with
antialiasing (it resizes the shorter side bicubically and crops), so that gradients reach the image. PBIP does not
say which CLIP it compares with; ViT-B/32 is the one that PLIP started from.
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from histoproto.contracts import ImageEncoder, LoadedWeights, TextEncoder
from histoproto.encoders.cards import CARDS, EncoderCard
from histoproto.encoders.resized import ResizedEncoder
from histoproto.encoders.sentences import sentence_encoder
from histoproto.encoders.tokens import Vocabulary, clip_tokens
from histoproto.weights import initialise

NOT_OF_IMAGES = ("text_model.", "text_projection.", "logit_scale", "vision_model.embeddings.position_ids")
NOT_OF_TEXT = ("vision_model.", "visual_projection.", "logit_scale", "text_model.embeddings.position_ids")
"""Prefixes of the other tower, of the temperature and of a counter that old files hold."""

VOCABULARY = Vocabulary(49408, 77)


@dataclass(frozen=True)
class CLIPShape:
    """Sizes of both towers; those of ViT-B/32 unless given."""

    patch_px: int = 32
    width: int = 768
    layers: int = 12
    heads: int = 12
    text_width: int = 512
    text_layers: int = 12
    text_heads: int = 8
    vocabulary: Vocabulary = VOCABULARY


class CLIPImageTower(nn.Module):
    """Vision transformer, class token, linear projection.

    Args:
        card: side of the image and length of the vector.
        shape: sizes.
    """

    def __init__(self, card: EncoderCard, shape: CLIPShape) -> None:
        super().__init__()
        self.model = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                image_size=card.input_px,
                projection_dim=card.dim,
                patch_size=shape.patch_px,
                hidden_size=shape.width,
                intermediate_size=4 * shape.width,
                num_hidden_layers=shape.layers,
                num_attention_heads=shape.heads,
            )
        )

    def forward(self, images: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch dim"]:
        """Return projected class tokens."""
        vectors: Tensor = self.model(pixel_values=images).image_embeds
        return vectors


class CLIPTextTower(nn.Module):
    """Causal transformer, token of the sentence's end, linear projection.

    Args:
        card: length of the vector.
        shape: sizes; the last two tokens of the vocabulary mark start and end.
    """

    def __init__(self, card: EncoderCard, shape: CLIPShape) -> None:
        super().__init__()
        tokens = shape.vocabulary.tokens
        self.model = CLIPTextModelWithProjection(
            CLIPTextConfig(
                projection_dim=card.dim,
                vocab_size=tokens,
                bos_token_id=tokens - 2,
                eos_token_id=tokens - 1,
                max_position_embeddings=shape.vocabulary.context,
                hidden_size=shape.text_width,
                intermediate_size=4 * shape.text_width,
                num_hidden_layers=shape.text_layers,
                num_attention_heads=shape.text_heads,
            )
        )

    def forward(
        self, ids: Int[Tensor, "sentences tokens"], real: Bool[Tensor, "sentences tokens"]
    ) -> Float[Tensor, "sentences dim"]:
        """Return projected end tokens."""
        vectors: Tensor = self.model(input_ids=ids, attention_mask=real.long()).text_embeds
        return vectors


def image_encoder(
    card: EncoderCard, weights: str, shape: CLIPShape | None = None
) -> tuple[ImageEncoder, LoadedWeights]:
    """Build the image tower of a CLIP in the hub's format; of ViT-B/32 unless a shape is given.

    Raises:
        WeightsError: if the weights are missing or do not fit.
    """
    tower = CLIPImageTower(card, shape or CLIPShape())
    loaded = initialise(tower.model, weights, ignore=NOT_OF_IMAGES, licence=card.licence)
    return ResizedEncoder(tower, card, pretrained=bool(loaded.tensors)), loaded


def text_encoder(card: EncoderCard, weights: str, shape: CLIPShape | None = None) -> tuple[TextEncoder, LoadedWeights]:
    """Build the text tower of a CLIP in the hub's format; of ViT-B/32 unless a shape is given.

    Raises:
        WeightsError: if the weights or the tokenizer are missing or do not fit.
    """
    shape = shape or CLIPShape()
    tower = CLIPTextTower(card, shape)
    loaded = initialise(tower.model, weights, ignore=NOT_OF_TEXT, licence=card.licence)
    return sentence_encoder(tower, clip_tokens(weights, shape.vocabulary), card.dim, loaded)


def clip(weights: str) -> tuple[ImageEncoder, LoadedWeights]:
    """Return CLIP ViT-B/32's image side."""
    return image_encoder(CARDS["clip"], weights)


def clip_text(weights: str) -> tuple[TextEncoder, LoadedWeights]:
    """Return CLIP ViT-B/32's text side."""
    return text_encoder(CARDS["clip"], weights)


def plip(weights: str) -> tuple[ImageEncoder, LoadedWeights]:
    """Return PLIP's image side."""
    return image_encoder(CARDS["plip"], weights)


def plip_text(weights: str) -> tuple[TextEncoder, LoadedWeights]:
    """Return PLIP's text side."""
    return text_encoder(CARDS["plip"], weights)
