"""Vision transformers in the format in which transformers keeps DINOv2: DINOv2 itself, Phikon-v2, Hibou-B and -L.

Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", TMLR 2024; Darcet et al., "Vision
Transformers Need Registers", ICLR 2024; Filiot et al., "Phikon-v2, A large and public feature extractor for biomarker
prediction", 2024; Nechaev et al., "Hibou: A Family of Foundational Vision Transformers for Pathology", 2024. The
network is timm's (Apache-2.0); the tensors are brought under its names here: query, key and value in one, and the
class token's position, where there are registers, added to the class token.

Hibou's own code for transformers must be trusted and run; this needs none of it. DINOv2's positions are those of
518 px and are resampled once to 224 px, bicubically without antialiasing, as transformers does.

Differences from the published processors: images are resized as tensors, both sides, bilinearly with antialiasing
(they resize the shorter side bicubically and crop), so that gradients reach the image.
"""

import re
from collections.abc import Mapping
from functools import partial
from math import isqrt

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from histoproto.contracts import ImageEncoder, LoadedWeights
from histoproto.encoders import timm_vit
from histoproto.encoders.cards import CARDS, EncoderCard
from histoproto.encoders.timm_vit import GATED_MLP, Recipe

UNUSED = ("embeddings.mask_token",)
"""Prefixes of what only the training needed."""

DINOV2_S = Recipe("vit_small_patch14_dinov2", {"img_size": 224})
DINOV2_B = Recipe("vit_base_patch14_dinov2", {"img_size": 224})
DINOV2_L = Recipe("vit_large_patch14_dinov2", {"img_size": 224})
PHIKON_V2 = Recipe("vit_large_patch16_224", {"init_values": 1.0})
HIBOU_B = Recipe("vit_base_patch14_reg4_dinov2", {"img_size": 224, "mlp_ratio": 2 * 2048 / 768} | GATED_MLP)
HIBOU_L = Recipe("vit_large_patch14_reg4_dinov2", {"img_size": 224, "mlp_ratio": 2 * 2736 / 1024} | GATED_MLP)


def image_encoder(card: EncoderCard, recipe: Recipe, weights: str) -> tuple[ImageEncoder, LoadedWeights]:
    """Build an encoder from a checkpoint in transformers' format.

    Args:
        card: side of the image, statistics, length of the vector.
        recipe: the network.
        weights: where the checkpoint is.

    Raises:
        WeightsError: if the weights are missing or do not fit.
    """
    return timm_vit.image_encoder(card, recipe, weights, partial(timm_names, side_px=card.input_px), UNUSED)


def dinov2_s(weights: str) -> tuple[ImageEncoder, LoadedWeights]:
    """Return DINOv2's ViT-S/14, class token."""
    return image_encoder(CARDS["dinov2-s"], DINOV2_S, weights)


def dinov2_b(weights: str) -> tuple[ImageEncoder, LoadedWeights]:
    """Return DINOv2's ViT-B/14, class token."""
    return image_encoder(CARDS["dinov2-b"], DINOV2_B, weights)


def dinov2_l(weights: str) -> tuple[ImageEncoder, LoadedWeights]:
    """Return DINOv2's ViT-L/14, class token."""
    return image_encoder(CARDS["dinov2-l"], DINOV2_L, weights)


def phikon_v2(weights: str) -> tuple[ImageEncoder, LoadedWeights]:
    """Return Phikon-v2: ViT-L/16, class token."""
    return image_encoder(CARDS["phikon-v2"], PHIKON_V2, weights)


def hibou_b(weights: str) -> tuple[ImageEncoder, LoadedWeights]:
    """Return Hibou-B: ViT-B/14 with SwiGLU and 4 registers, class token."""
    return image_encoder(CARDS["hibou-b"], HIBOU_B, weights)


def hibou_l(weights: str) -> tuple[ImageEncoder, LoadedWeights]:
    """Return Hibou-L: ViT-L/14 with SwiGLU and 4 registers, class token."""
    return image_encoder(CARDS["hibou-l"], HIBOU_L, weights)


_RENAMES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^embeddings\.position_embeddings$", "pos_embed"),
        (r"^embeddings\.register_tokens$", "reg_token"),
        (r"^embeddings\.cls_token$", "cls_token"),
        (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
        (r"^layernorm\.", "norm."),
        (r"^encoder\.layer\.", "blocks."),
        (r"\.attention\.output\.dense\.", ".attn.proj."),
        (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
        (r"\.mlp\.weights_in\.", ".mlp.fc1."),
        (r"\.mlp\.weights_out\.", ".mlp.fc2."),
    )
)
_QUERY = re.compile(r"^(?P<block>.*)\.attention\.attention\.query\.(?P<kind>weight|bias)$")


def timm_names(tensors: Mapping[str, Tensor], side_px: int) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint under timm's names; what is not known keeps its own.

    Args:
        tensors: a checkpoint of transformers.
        side_px: side of the images, to which the positions are resampled where they are of another.
    """
    named = {_timm_name(name): held for name, held in _with_joint_attention(tensors).items()}
    positions, projection = named.get("pos_embed"), named.get("patch_embed.proj.weight")
    if positions is None or projection is None:
        return named  # the loading says what is missing
    positions = _resampled(positions, side_px // projection.shape[-1])
    if "reg_token" in named and "cls_token" in named:
        named["cls_token"] = named["cls_token"] + positions[:, :1]
        positions = positions[:, 1:]
    return named | {"pos_embed": positions}


def _timm_name(name: str) -> str:
    for pattern, replacement in _RENAMES:
        name = pattern.sub(replacement, name)
    return name


def _with_joint_attention(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors with query, key and value of a block in one, where all three are there."""
    joint = dict(tensors)
    for name in tensors:
        found = _QUERY.match(name)
        if found is None:
            continue
        three = [name.replace(".query.", f".{part}.") for part in ("query", "key", "value")]
        if all(part in joint for part in three):
            joint[f"{found['block']}.attn.qkv.{found['kind']}"] = torch.cat([joint.pop(part) for part in three])
    return joint


def _resampled(positions: Tensor, grid: int) -> Tensor:
    """Return positions of a square grid of patches; those that are of no square picture stay as they are."""
    side = isqrt(max(positions.shape[1] - 1, 0))
    if side == grid or side**2 != positions.shape[1] - 1:
        return positions
    patches = positions[:, 1:].float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    patches = interpolate(patches, size=(grid, grid), mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1], patches.flatten(2).mT.to(positions.dtype)], dim=1)
