"""A checkpoint in the form of CONCH's, small enough to be made by a test."""

import torch
from timm.models.vision_transformer import VisionTransformer

from histoproto.backbones.vit_pyramid import FACTORS, RELEASED_FACTORS, conch_pyramid


def tiny_trunk(side_px=64):
    return VisionTransformer(
        img_size=side_px, patch_size=16, embed_dim=16, depth=4, num_heads=2, num_classes=0, dynamic_img_size=True
    )


def tiny_conch(*, released=False, weights=None, trunk=None):
    """The pyramid of a tiny trunk."""
    factors = RELEASED_FACTORS if released else FACTORS
    return conch_pyramid(weights, factors=factors, trunk=trunk or tiny_trunk())[0]


def tiny_checkpoint(trunk):
    """The trunk's tensors under CONCH's names, among what else its checkpoint holds."""
    others = ("visual.attn_pool_contrast.query", "visual.attn_pool_caption.ln_k.weight", "visual.ln_contrast.weight")
    others += ("visual.ln_caption.bias", "visual.proj_contrast", "text.cls_emb", "text_decoder.ln_final.weight")
    rest = {name: torch.randn(3, 2) for name in others} | {"logit_scale": torch.tensor(4.6)}
    return {f"visual.trunk.{name}": value for name, value in trunk.state_dict().items()} | rest
