"""CONCH, a vision-language model of pathology: its gated checkpoint, without its package.

The checkpoint (``pytorch_model.bin``, from https://huggingface.co/MahmoodLab/conch after accepting its terms) names
its tensors ``visual.*``, ``text.*``, ``text_decoder.*`` and ``logit_scale``; the text tower further needs
``conch_byte_level_bpe_uncased.json``, which is part of its package, next to it. See ``conch_towers`` for the paper.

Differences from the published code: images are resized as tensors, both sides, bilinearly with antialiasing (it
resizes the shorter side bicubically and crops), so that gradients reach the image; ``strict=False`` is gone. Sizes,
names and the attention mask were read in the published code and settings, since the gated weights themselves could
not be opened: that they fit is proved only when they are loaded, tensor by tensor. ``conch_224`` is the use that
ConStruct's released code makes of it: 14 × 14 patches, the positions resampled bilinearly.
"""

from collections.abc import Mapping
from math import isqrt

from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor

from histoproto.contracts import ImageEncoder, LoadedWeights, TextEncoder
from histoproto.encoders.cards import CARDS, EncoderCard
from histoproto.encoders.conch_towers import ConchImageTower, ConchShape, ConchTextTower
from histoproto.encoders.resized import ResizedEncoder
from histoproto.encoders.sentences import sentence_encoder
from histoproto.encoders.tokens import conch_tokens
from histoproto.weights import initialise

NOT_OF_IMAGES = ("text.", "text_decoder.", "logit_scale", "attn_pool_caption.", "ln_caption.")
NOT_OF_TEXT = ("visual.", "text_decoder.", "logit_scale")
"""Prefixes of what the other tower, the captions and the temperature need."""


def image_encoder(
    card: EncoderCard, weights: str, shape: ConchShape | None = None, *, resample: bool = False
) -> tuple[ImageEncoder, LoadedWeights]:
    """Build CONCH's image tower; of ViT-B/16 unless a shape is given.

    Args:
        card: side of the image and length of the vector.
        weights: where the checkpoint is.
        shape: sizes of the tower.
        resample: whether the card's side is another than the checkpoint's, so that its positions are resampled.

    Raises:
        WeightsError: if the weights are missing or do not fit.
    """
    tower = ConchImageTower(card, shape or ConchShape())

    def rename(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        named = _without(tensors, "visual.")
        return _resampled(named, list(tower.trunk.patch_embed.grid_size)) if resample else named

    loaded = initialise(tower, weights, rename=rename, ignore=NOT_OF_IMAGES, licence=card.licence)
    return ResizedEncoder(tower, card, pretrained=bool(loaded.tensors)), loaded


def text_encoder(card: EncoderCard, weights: str, shape: ConchShape | None = None) -> tuple[TextEncoder, LoadedWeights]:
    """Build CONCH's text tower; of its published sizes unless a shape is given.

    Raises:
        WeightsError: if the weights or the tokenizer are missing or do not fit.
    """
    shape = shape or ConchShape()
    tower = ConchTextTower(card, shape)

    def rename(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return _without(tensors, "text.")

    loaded = initialise(tower, weights, rename=rename, ignore=NOT_OF_TEXT, licence=card.licence)
    return sentence_encoder(tower, conch_tokens(weights, shape.vocabulary), card.dim, loaded)


def conch(weights: str) -> tuple[ImageEncoder, LoadedWeights]:
    """Return CONCH's image side, at its own 448 px."""
    return image_encoder(CARDS["conch"], weights)


def conch_224(weights: str) -> tuple[ImageEncoder, LoadedWeights]:
    """Return CONCH's image side at 224 px, as ConStruct's released code uses it: a quarter of the work."""
    return image_encoder(CARDS["conch-224"], weights, resample=True)


def conch_text(weights: str) -> tuple[TextEncoder, LoadedWeights]:
    """Return CONCH's text side."""
    return text_encoder(CARDS["conch"], weights)


def _without(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return tensors without a tower's prefix and without that of a network trained on many GPUs."""
    return {name.removeprefix("module.").removeprefix(prefix): held for name, held in tensors.items()}


def _resampled(tensors: dict[str, Tensor], grid: list[int]) -> dict[str, Tensor]:
    """Return tensors with the positions resampled to a grid; those that are of no square picture stay as they are."""
    name = "trunk.pos_embed"
    held = tensors.get(name)
    if held is None or held.ndim != 3 or isqrt(held.shape[1] - 1) ** 2 != held.shape[1] - 1:
        return tensors
    return tensors | {name: resample_abs_pos_embed(held, grid, interpolation="bilinear", antialias=False)}
