"""Pathology's vision transformers in timm's format: UNI, UNI2-h, Virchow2, H-optimus-0 and -1, Kaiko.

Chen et al., "Towards a general-purpose foundation model for computational pathology", Nature Medicine 2024 (UNI;
UNI2-h is its successor); Zimmermann et al., "Virchow2: Scaling Self-Supervised Mixed Magnification Models in
Pathology", 2024; Saillard et al., "H-optimus-0", 2024, and its successor; kaiko.ai et al., "Towards Large-Scale
Training of Pathology Foundation Models", 2024. The transformer is timm's (Apache-2.0); what timm is asked for is
what each model's card asks for.

Differences from the published transforms: images are resized as tensors, both sides, bilinearly with antialiasing
(some resize the shorter side bicubically and crop), so that gradients reach the image. Most of these weights are
gated and could not be opened: that they fit is proved only when they are loaded, tensor by tensor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import timm
import torch
from jaxtyping import Float
from timm.layers.mlp import SwiGLUPacked
from torch import Tensor, nn

from histoproto.contracts import ImageEncoder, LoadedWeights
from histoproto.encoders.cards import CARDS, EncoderCard
from histoproto.encoders.resized import ResizedEncoder
from histoproto.weights import Rename, initialise

HEADS = ("head.",)
"""Prefixes of classification heads in published files."""
GATED_MLP: dict[str, Any] = {"mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU}
"""SwiGLU in the place of two linear layers; files of settings cannot say it, since it is a class."""


@dataclass(frozen=True)
class Recipe:
    """What timm builds."""

    architecture: str
    """timm's name."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the published model has other than that architecture."""
    mean_too: bool = False
    """Whether the vector is the class token and then the mean of the patch tokens, or the class token alone."""


UNI = Recipe("vit_large_patch16_224", {"init_values": 1e-5})
UNI2_H = Recipe(
    "vit_giant_patch14_224",
    {
        "embed_dim": 1536,
        "depth": 24,
        "num_heads": 24,
        "mlp_ratio": 2 * 2.66667,
        "init_values": 1e-5,
        "reg_tokens": 8,
        "no_embed_class": True,
    }
    | GATED_MLP,
)
VIRCHOW2 = Recipe(
    "vit_huge_patch14_224", {"mlp_ratio": 5.3375, "init_values": 1e-5, "reg_tokens": 4} | GATED_MLP, mean_too=True
)
H_OPTIMUS = Recipe("vit_giant_patch14_reg4_dinov2", {"img_size": 224})
KAIKO = {
    "kaiko-vits8": Recipe("vit_small_patch8_224"),
    "kaiko-vits16": Recipe("vit_small_patch16_224"),
    "kaiko-vitb8": Recipe("vit_base_patch8_224"),
    "kaiko-vitb16": Recipe("vit_base_patch16_224"),
    # its positions are those of 518 px and are resampled to 224 px
    "kaiko-vitl14": Recipe("vit_large_patch14_reg4_dinov2", {"dynamic_img_size": True}),
}


class ClassAndMean(nn.Module):
    """Class token and mean of the patch tokens, one behind the other; register tokens are left out.

    Args:
        model: one of timm's vision transformers.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch dim"]:
        """Return one vector per image, twice as long as a token."""
        transformer: Any = self.model
        tokens: Tensor = transformer.forward_features(images)
        patches = tokens[:, transformer.num_prefix_tokens :]
        return torch.cat([tokens[:, 0], patches.mean(1)], dim=1)


def image_encoder(
    card: EncoderCard, recipe: Recipe, weights: str, rename: Rename = dict, ignore: Sequence[str] = ()
) -> tuple[ImageEncoder, LoadedWeights]:
    """Build one of timm's vision transformers as encoder.

    Args:
        card: side of the image, statistics, length of the vector.
        recipe: the network.
        weights: where the checkpoint is.
        rename: turns the checkpoint's names into timm's.
        ignore: prefixes of checkpoint names that the network has no use for.

    Raises:
        WeightsError: if the weights are missing or do not fit.
    """
    model = timm.create_model(recipe.architecture, pretrained=False, num_classes=0, **recipe.options)
    loaded = initialise(model, weights, rename=rename, ignore=(*HEADS, *ignore), licence=card.licence)
    network = ClassAndMean(model) if recipe.mean_too else model
    return ResizedEncoder(network, card, pretrained=bool(loaded.tensors)), loaded


def uni(weights: str) -> tuple[ImageEncoder, LoadedWeights]:
    """Return UNI: ViT-L/16, class token."""
    return image_encoder(CARDS["uni"], UNI, weights)


def uni2_h(weights: str) -> tuple[ImageEncoder, LoadedWeights]:
    """Return UNI2-h: 24 blocks of ViT-g/14 with SwiGLU and 8 registers, class token."""
    return image_encoder(CARDS["uni2-h"], UNI2_H, weights)


def virchow2(weights: str) -> tuple[ImageEncoder, LoadedWeights]:
    """Return Virchow2: ViT-H/14 with SwiGLU and 4 registers, class token and mean of the patch tokens."""
    return image_encoder(CARDS["virchow2"], VIRCHOW2, weights)


def h_optimus_0(weights: str) -> tuple[ImageEncoder, LoadedWeights]:
    """Return H-optimus-0: ViT-g/14 with SwiGLU and 4 registers, class token."""
    return image_encoder(CARDS["h-optimus-0"], H_OPTIMUS, weights)


def h_optimus_1(weights: str) -> tuple[ImageEncoder, LoadedWeights]:
    """Return H-optimus-1, the same network as H-optimus-0."""
    return image_encoder(CARDS["h-optimus-1"], H_OPTIMUS, weights)


def kaiko_vits8(weights: str) -> tuple[ImageEncoder, LoadedWeights]:
    """Return Kaiko's ViT-S/8, class token."""
    return image_encoder(CARDS["kaiko-vits8"], KAIKO["kaiko-vits8"], weights)


def kaiko_vits16(weights: str) -> tuple[ImageEncoder, LoadedWeights]:
    """Return Kaiko's ViT-S/16, class token."""
    return image_encoder(CARDS["kaiko-vits16"], KAIKO["kaiko-vits16"], weights)


def kaiko_vitb8(weights: str) -> tuple[ImageEncoder, LoadedWeights]:
    """Return Kaiko's ViT-B/8, class token."""
    return image_encoder(CARDS["kaiko-vitb8"], KAIKO["kaiko-vitb8"], weights)


def kaiko_vitb16(weights: str) -> tuple[ImageEncoder, LoadedWeights]:
    """Return Kaiko's ViT-B/16, class token."""
    return image_encoder(CARDS["kaiko-vitb16"], KAIKO["kaiko-vitb16"], weights)


def kaiko_vitl14(weights: str) -> tuple[ImageEncoder, LoadedWeights]:
    """Return Kaiko's ViT-L/14 with 4 registers, class token."""
    return image_encoder(CARDS["kaiko-vitl14"], KAIKO["kaiko-vitl14"], weights)
