"""Augmentation of a batch on its device: symmetries of the square and stain variation.

What happens to a patch depends on the seed, the epoch and the patch's index alone, never on the batch, the
process or the worker that holds it.
"""

import torch
from jaxtyping import Bool, Float, Int64, Num
from torch import Tensor

from histoproto.training.seeds import derive_seed, uniform_draws
from histoproto.training.settings import AugmentSettings

DARKEST = 1 / 255
"""Intensities below one grey level count as one grey level where their logarithm is taken."""

STAIN_COLOURS = ((0.650, 0.704, 0.286), (0.072, 0.990, 0.105))
"""Optical density of haematoxylin and of eosin in R, G, B (Ruifrok and Johnston 2001, table 1)."""

STAIN_DRAWS = 6
"""Random numbers per patch for its stain: three scales, three offsets."""

DRAWS = 3 + STAIN_DRAWS
"""Random numbers per patch: mirror left-right, mirror up-down, transpose, then its stain."""


def draw(indices: Int64[Tensor, " batch"], seed: int, epoch: int) -> Float[Tensor, "batch draws"]:
    """Return the random numbers that vary each patch, in [0, 1).

    Args:
        indices: index of each patch in its data set.
        seed: seed of the augmentation.
        epoch: epoch from 0; every epoch varies a patch anew.
    """
    return uniform_draws(derive_seed(seed, epoch), indices, DRAWS)


def vary(
    images: Float[Tensor, "batch 3 height width"], draws: Float[Tensor, "batch draws"], settings: AugmentSettings
) -> Float[Tensor, "batch 3 height width"]:
    """Return the varied patches, in [0, 1].

    Args:
        images: RGB in [0, 1].
        draws: what ``draw`` returned.
        settings: what to vary and how much.
    """
    return vary_stain_at_random(turn(images, draws, settings), draws[:, 3:], settings)


def vary_stain_at_random(
    images: Float[Tensor, "batch 3 height width"], draws: Float[Tensor, "batch draws"], settings: AugmentSettings
) -> Float[Tensor, "batch 3 height width"]:
    """Return patches whose stain varies by ``draws``, as much as ``settings`` allow; see ``vary_stain``."""
    if not (settings.stain_sigma or settings.stain_bias):
        return images
    spread = (2 * draws - 1).to(images.device)
    return vary_stain(images, 1 + settings.stain_sigma * spread[:, :3], settings.stain_bias * spread[:, 3:])


def turn(
    images: Num[Tensor, "batch channels height width"], draws: Float[Tensor, "batch draws"], settings: AugmentSettings
) -> Num[Tensor, "batch channels height width"]:
    """Return images, or masks of the same patches, turned and mirrored as ``vary`` does it."""
    return flip(images, draws[:, :3] < 0.5) if settings.flips else images


def flip(
    images: Num[Tensor, "batch channels height width"], choice: Bool[Tensor, "batch 3"]
) -> Num[Tensor, "batch channels height width"]:
    """Mirror left-right, mirror up-down and transpose, each where ``choice`` ``(batch, 3)`` is true.

    The eight combinations are the eight symmetries of the square. A patch that is no square is not transposed.
    """
    left_right, up_down, transpose = choice[:, :, None, None, None].unbind(1)
    images = torch.where(left_right, images.flip(-1), images)
    images = torch.where(up_down, images.flip(-2), images)
    if images.shape[-1] == images.shape[-2]:
        images = torch.where(transpose, images.transpose(-1, -2), images)
    return images


def vary_stain(
    images: Float[Tensor, "batch 3 height width"],
    scale: Float[Tensor, "batch 3"],
    offset: Float[Tensor, "batch 3"],
) -> Float[Tensor, "batch 3 height width"]:
    """Scale and shift the amounts of haematoxylin, eosin and what neither explains (Tellez et al. 2018).

    Optical density is D = -ln I = c S with the stains' unit colours as rows of S. With c' = scale · c + offset,
    the image becomes I · exp(-(c' - c) S), which leaves it exactly as it is at scale 1 and offset 0.

    Args:
        images: RGB in [0, 1].
        scale: factor per patch and stain, about 1.
        offset: summand per patch and stain, about 0, in natural optical density.

    Returns:
        RGB, clipped to [0, 1].
    """
    stains = _stain_matrix(images.device)
    density = -images.clamp(min=DARKEST).log()
    change = torch.einsum("ds,bs,se->bde", torch.linalg.inv(stains), scale - 1, stains)
    scaled = torch.einsum("bdhw,bde->behw", density, change)
    shifted = torch.einsum("bs,se->be", offset, stains)[:, :, None, None]
    return (images * (-scaled - shifted).exp()).clamp(0, 1)


def _stain_matrix(device: torch.device) -> Float[Tensor, "3 3"]:
    """Return the unit colours of haematoxylin, eosin and the residual, which is orthogonal to both."""
    haematoxylin, eosin = torch.tensor(STAIN_COLOURS, device=device)
    colours = torch.stack([haematoxylin, eosin, torch.linalg.cross(haematoxylin, eosin)])
    return torch.nn.functional.normalize(colours, dim=1)
