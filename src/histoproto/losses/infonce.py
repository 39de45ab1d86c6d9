"""InfoNCE with any number of positives, in its stable log-sum-exp form."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize


def similarity_logits(
    features: Float[Tensor, "samples dim"], prototypes: Float[Tensor, "prototypes dim"], temperature: float
) -> Float[Tensor, "samples prototypes"]:
    """Return ``cos(f, p) / T`` for each sample and prototype."""
    return normalize(features, dim=1) @ normalize(prototypes, dim=1).T / temperature


def infonce(
    logits: Float[Tensor, "samples candidates"],
    positive: Bool[Tensor, "samples candidates"],
) -> Float[Tensor, " samples"]:
    """Return ``-log(sum_positive exp(z) / sum_all exp(z))`` per sample.

    With one positive this is the foreground term of LPD (and per-sample PBIP Eq. 9); with all prototypes of
    other classes as positives it is the background term (PBIP Eq. 11, multi-positive form).

    Args:
        logits: similarities over temperature.
        positive: who attracts the sample.

    Returns:
        One non-negative value per sample; 0 for a sample without a positive, since it then says nothing.
    """
    speaks = positive.any(1, keepdim=True)  # a row of -inf alone would give NaN in the backward pass
    attracted = logits.masked_fill(~positive & speaks, -torch.inf).logsumexp(1)  # (samples,)
    return (logits.logsumexp(1) - attracted).where(speaks[:, 0], torch.zeros_like(attracted))
