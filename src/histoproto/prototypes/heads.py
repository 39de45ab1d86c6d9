"""From the pixels of one level to one map per prototype: by similarity, or by a plain convolution."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from histoproto.prototypes.projection import PrototypeProjection
from histoproto.prototypes.similarity import cosine_maps, half_cosine_maps


class SimilarityHead(nn.Module):
    """``M(p, k) = s cos(F(p), MLP(P(k)))`` (PBIP, CVPR 2025, Eq. 2, before the mean over k).

    Args:
        dim: length of a prototype.
        channels: of the level.
        scale: start value of ``s``.
        learn_scale: whether ``s`` trains; the paper has none.
        unit: normalise the projected prototypes; the released code does not.
    """

    def __init__(self, dim: int, channels: int, scale: float, *, learn_scale: bool = True, unit: bool = True) -> None:
        super().__init__()
        self.projection = PrototypeProjection(dim, channels)
        self.scale = nn.Parameter(torch.tensor([scale]), requires_grad=learn_scale)
        self.unit = unit

    def forward(
        self, pixels: Float[Tensor, "batch channels height width"], prototypes: Float[Tensor, "prototypes dim"]
    ) -> Float[Tensor, "batch prototypes height width"]:
        """Return scaled similarities."""
        projected = self.projection(prototypes)
        return self.scale * (cosine_maps if self.unit else half_cosine_maps)(pixels, projected)

    def cosines(
        self, pixels: Float[Tensor, "batch channels height width"], prototypes: Float[Tensor, "prototypes dim"]
    ) -> Float[Tensor, "batch prototypes height width"]:
        """Return similarities in [-1, 1]."""
        return cosine_maps(pixels, self.projection(prototypes))


class ConvolutionHead(nn.Module):
    """A 1x1 convolution in place of the similarity, which then knows no prototype (PBIP, Table 5).

    Args:
        prototypes: number of maps.
        channels: of the level.
    """

    def __init__(self, prototypes: int, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, prototypes, 1)

    def forward(
        self, pixels: Float[Tensor, "batch channels height width"], prototypes: Float[Tensor, "prototypes dim"]
    ) -> Float[Tensor, "batch prototypes height width"]:
        """Return the convolution's maps; ``prototypes`` are there for callers of ``SimilarityHead``."""
        maps: Tensor = self.convolution(pixels)
        return maps

    def cosines(
        self, pixels: Float[Tensor, "batch channels height width"], prototypes: Float[Tensor, "prototypes dim"]
    ) -> Float[Tensor, "batch prototypes height width"]:
        """Return similarities between pixels and the convolution's rows, in [-1, 1]."""
        return cosine_maps(pixels, self.convolution.weight[:, :, 0, 0])
