"""MedCLIP-ViT: Swin-T and Bio_ClinicalBERT, each with a linear projection, trained on chest X-rays and reports.

Wang et al., "MedCLIP: Contrastive Learning from Unpaired Medical Images and Texts", EMNLP 2022. The checkpoint is
the ``pytorch_model.bin`` inside https://storage.googleapis.com/pytrial/medclip-vit-pretrained.zip; the code of both
transformers is that of the library of the same name (Apache-2.0).

``medclip_released`` is what the released code of PBIP and LPD calls MedCLIP: it never loads the checkpoint, so its
vectors are those of an ImageNet Swin-T behind a random projection.

Differences from MedCLIP's code: images keep their colours (its processor turns them grey and pads them to a square,
but PBIP encodes coloured tensors); padding is left out when a sentence's tokens are averaged, since otherwise its
vector would depend on the sentences beside it. From PBIP's: its random projection came from torch's global
generator, whose stream the versions of its libraries decide, so it cannot be had back; ours has a seed of its own,
and PBIP's published prototypes do not live in its space.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import BertConfig, BertModel, SwinConfig, SwinModel

from histoproto.attention import attend_fast
from histoproto.contracts import ImageEncoder, LoadedWeights, TextEncoder
from histoproto.encoders.cards import CARDS, EncoderCard
from histoproto.encoders.resized import ResizedEncoder
from histoproto.encoders.sentences import sentence_encoder
from histoproto.encoders.tokens import Vocabulary, bert_tokens
from histoproto.errors import WeightsError
from histoproto.weights import initialise

PROJECTION = "vision_model.projection_head.weight"
NOT_OF_IMAGES = ("text_model.", "logit_scale")
NOT_OF_TEXT = ("vision_model.", "logit_scale", "model.embeddings.position_ids")
RELEASED_SEED = 42
VOCABULARY = Vocabulary(28996, 77)


@dataclass(frozen=True)
class MedCLIPShape:
    """Sizes of both towers; those of Swin-T and BERT-base unless given."""

    width: int = 96
    """Of the first stage; it doubles from stage to stage."""
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    window: int = 7
    text_width: int = 768
    text_layers: int = 12
    text_heads: int = 12
    vocabulary: Vocabulary = VOCABULARY


class MedCLIPImageTower(nn.Module):
    """Swin-T, mean over positions, linear projection without bias.

    Args:
        card: side of the image and length of the vector.
        shape: sizes.
    """

    def __init__(self, card: EncoderCard, shape: MedCLIPShape) -> None:
        super().__init__()
        self.model = SwinModel(
            SwinConfig(
                image_size=card.input_px,
                embed_dim=shape.width,
                depths=list(shape.depths),
                num_heads=list(shape.heads),
                window_size=shape.window,
            )
        )
        attend_fast(self.model)
        self.projection_head = nn.Linear(shape.width * 2 ** (len(shape.depths) - 1), card.dim, bias=False)

    def forward(self, images: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch dim"]:
        """Return projected vectors."""
        vectors: Tensor = self.projection_head(self.model(pixel_values=images).pooler_output)
        return vectors


class MedCLIPTextTower(nn.Module):
    """BERT; first, second and last layer averaged over the sentence; linear projection without bias.

    Args:
        card: length of the vector.
        shape: sizes.
    """

    def __init__(self, card: EncoderCard, shape: MedCLIPShape) -> None:
        super().__init__()
        self.model = BertModel(
            BertConfig(
                vocab_size=shape.vocabulary.tokens,
                hidden_size=shape.text_width,
                intermediate_size=4 * shape.text_width,
                num_hidden_layers=shape.text_layers,
                num_attention_heads=shape.text_heads,
            )
        )
        self.projection_head = nn.Linear(shape.text_width, card.dim, bias=False)

    def forward(
        self, ids: Int[Tensor, "sentences tokens"], real: Bool[Tensor, "sentences tokens"]
    ) -> Float[Tensor, "sentences dim"]:
        """Return projected vectors."""
        layers = self.model(input_ids=ids, attention_mask=real.long(), output_hidden_states=True).hidden_states
        tokens = torch.stack([layers[1], layers[2], layers[-1]]).mean(0)  # (sentences, tokens, width)
        weight = real.unsqueeze(-1).to(tokens.dtype)
        vectors: Tensor = self.projection_head((tokens * weight).sum(1) / weight.sum(1))
        return vectors


def image_encoder(
    card: EncoderCard, weights: str, shape: MedCLIPShape | None = None
) -> tuple[ImageEncoder, LoadedWeights]:
    """Build MedCLIP's image tower; of Swin-T unless a shape is given.

    Raises:
        WeightsError: if the weights are missing or do not fit, or hold no projection.
    """
    tower = MedCLIPImageTower(card, shape or MedCLIPShape())

    def rename(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if PROJECTION not in tensors:
            raise WeightsError(
                f"{weights} holds no {PROJECTION}, without which MedCLIP's vectors are random; give the "
                "pytorch_model.bin of MedCLIP-ViT, or take the encoder medclip-released, which is random and says so"
            )
        return _own_names(tower, {name.removeprefix("vision_model."): held for name, held in tensors.items()})

    loaded = initialise(tower, weights, rename=rename, ignore=NOT_OF_IMAGES, licence=card.licence)
    return ResizedEncoder(tower, card, pretrained=bool(loaded.tensors)), loaded


def released_encoder(
    card: EncoderCard, weights: str, shape: MedCLIPShape | None = None
) -> tuple[ImageEncoder, LoadedWeights]:
    """Build a Swin-T from ImageNet weights with a random projection; see the module's docstring.

    Raises:
        WeightsError: if the weights are missing or do not fit.
    """
    tower = MedCLIPImageTower(card, shape or MedCLIPShape())

    def rename(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return _own_names(tower.model, {name.removeprefix("swin."): held for name, held in tensors.items()})

    loaded = initialise(tower.model, weights, rename=rename, ignore=("classifier.",), licence=card.licence)
    bound = tower.projection_head.in_features**-0.5  # torch's own for a linear layer
    generator = torch.Generator().manual_seed(RELEASED_SEED)
    with torch.no_grad():
        tower.projection_head.weight.uniform_(-bound, bound, generator=generator)
    note = f"the projection is random (seed {RELEASED_SEED}): no weights of MedCLIP are in this encoder"
    return ResizedEncoder(tower, card, pretrained=bool(loaded.tensors)), replace(loaded, notes=[note])


def text_encoder(
    card: EncoderCard, weights: str, shape: MedCLIPShape | None = None
) -> tuple[TextEncoder, LoadedWeights]:
    """Build MedCLIP's text tower; of BERT-base unless a shape is given.

    Raises:
        WeightsError: if the weights or the tokenizer are missing or do not fit.
    """
    shape = shape or MedCLIPShape()
    tower = MedCLIPTextTower(card, shape)

    def rename(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name.removeprefix("text_model."): held for name, held in tensors.items()}

    loaded = initialise(tower, weights, rename=rename, ignore=NOT_OF_TEXT, licence=card.licence)
    return sentence_encoder(tower, bert_tokens(weights, shape.vocabulary), card.dim, loaded)


def medclip(weights: str) -> tuple[ImageEncoder, LoadedWeights]:
    """Return MedCLIP-ViT's image side."""
    return image_encoder(CARDS["medclip"], weights)


def medclip_released(weights: str) -> tuple[ImageEncoder, LoadedWeights]:
    """Return what PBIP's and LPD's released code calls MedCLIP: ImageNet's Swin-T, random projection."""
    return released_encoder(CARDS["medclip-released"], weights)


def medclip_text(weights: str) -> tuple[TextEncoder, LoadedWeights]:
    """Return MedCLIP-ViT's text side."""
    return text_encoder(CARDS["medclip"], weights)


def _own_names(network: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors under the network's names; what has no place keeps its own."""
    own = {_common_name(name): name for name in network.state_dict()}
    named = {own.get(_common_name(name), name): held for name, held in tensors.items()}
    # a table of positions that follows from the window's size; not every version of the library stores it
    computed = {name for name in named if name.endswith("relative_position_index")} - own.keys()
    return {name: held for name, held in named.items() if name not in computed}


# Names in published files (of transformers 4) and of transformers 5's modules, brought to one form.
_RENAMES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\.attention\.(?:self\.query|q_proj)\.", ".query."),
        (r"\.attention\.(?:self\.key|k_proj)\.", ".key."),
        (r"\.attention\.(?:self\.value|v_proj)\.", ".value."),
        (r"\.attention\.(?:self|relative_position_bias)\.relative_position_bias_table", ".bias_table"),
        (r"\.attention\.(?:output\.dense|o_proj)\.", ".out."),
        (r"\.(?:intermediate\.dense|mlp\.fc1)\.", ".fc1."),
        (r"\.(?:output\.dense|mlp\.fc2)\.", ".fc2."),
    )
)


def _common_name(name: str) -> str:
    for pattern, replacement in _RENAMES:
        name = pattern.sub(replacement, name)
    return name
