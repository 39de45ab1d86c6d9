"""Prototypes of one class should look at different pixels of that class.

Source: the Jeffreys similarity of ProtoSeg (WACV 2023), which LPD (ISBI 2026) takes over:

    v_k = softmax over the pixels z of class c of  a_k(z) / T
    D_J(u, v) = 1/2 KL(u || v) + 1/2 KL(v || u)
    S_J = mean over pairs of prototypes of  exp(-D_J)

S_J is 1 for identical prototypes and falls towards 0 as their attention parts.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize


def jeffreys_divergence(
    activations: Float[Tensor, "batch prototypes height width"],
    region: Bool[Tensor, "batch height width"],
    temperature: float,
) -> Float[Tensor, "batch pairs"]:
    """Return ``D_J`` of the activation distributions for each pair of prototypes of one class.

    Args:
        activations: cosine similarities of one class's prototypes, in [-1, 1].
        region: pixels of that class; an image without any gives zeros.
        temperature: ``T`` of the one soft-max over the region.

    Returns:
        Non-negative divergences in nats for the ``K (K - 1) / 2`` pairs.
    """
    inside = region.flatten(1)[:, None]  # (batch, 1, pixels)
    logits = activations.flatten(2) / temperature  # (batch, prototypes, pixels)
    # the lowest finite value keeps empty regions free of NaN
    log_attention = logits.masked_fill(~inside, torch.finfo(logits.dtype).min).log_softmax(-1)
    attention = log_attention.exp() * inside
    log_attention = log_attention.masked_fill(~inside, 0.0)
    first, second = torch.triu_indices(activations.shape[1], activations.shape[1], offset=1)
    change = attention[:, first] - attention[:, second]  # (batch, pairs, pixels)
    return 0.5 * (change * (log_attention[:, first] - log_attention[:, second])).sum(-1)


def jeffreys_similarity(
    activations: Float[Tensor, "batch prototypes height width"],
    region: Bool[Tensor, "batch height width"],
    temperature: float,
) -> Float[Tensor, " batch"]:
    """Return ``S_J`` per image for the prototypes of one class, in (0, 1]; arguments as ``jeffreys_divergence``.

    An image whose region has fewer than two pixels, and a class with one prototype, give 0: there is nothing to part.
    """
    if activations.shape[1] == 1:
        return activations.new_zeros(len(activations))
    similarity = jeffreys_divergence(activations, region, temperature).neg().exp().mean(1)
    return similarity.where(region.flatten(1).sum(1) > 1, torch.zeros_like(similarity))


def double_softmax_similarity(
    pixels: Float[Tensor, "pixels channels"], prototypes: Float[Tensor, "prototypes channels"]
) -> Float[Tensor, ""]:
    """Return the released form: soft-max over pixels taken twice, no temperature, no half.

    The second soft-max flattens the first to almost uniform, so the value stays near 1 and its gradient is
    about 1e-7 (LPD repository, `utils/diversity_loss.py`). Kept for the preset ``released`` alone.

    Args:
        pixels: features of the pixels of one class in one image, at least one.
        prototypes: that class's prototypes, not projected, at least two.
    """
    cosines = normalize(prototypes, dim=1) @ normalize(pixels, dim=1).T  # (prototypes, pixels)
    attention = cosines.softmax(1).softmax(1)
    first, second = torch.triu_indices(len(prototypes), len(prototypes), offset=1)
    change = attention[first] - attention[second]
    return (change * (attention[first].log() - attention[second].log())).sum(1).neg().exp().mean()
