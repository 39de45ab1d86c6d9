"""Cosine similarity between the pixels of a feature level and prototypes."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize


def cosine_maps(
    pixels: Float[Tensor, "batch channels height width"], prototypes: Float[Tensor, "prototypes channels"]
) -> Float[Tensor, "batch prototypes height width"]:
    """Return ``cos(F(p), P[k])`` for each pixel and prototype, in [-1, 1] (PBIP, CVPR 2025, Eq. 2).

    A zero vector on either side has similarity 0.
    """
    return torch.einsum("bchw,kc->bkhw", normalize(pixels, dim=1, eps=1e-8), normalize(prototypes, dim=1, eps=1e-8))


def half_cosine_maps(
    pixels: Float[Tensor, "batch channels height width"], prototypes: Float[Tensor, "prototypes channels"]
) -> Float[Tensor, "batch prototypes height width"]:
    """Return ``F(p) / |F(p)| . P[k]``: the released PBIP normalises the pixel and forgets the prototype."""
    return torch.einsum("bchw,kc->bkhw", normalize(pixels, dim=1, eps=1e-8), prototypes)
