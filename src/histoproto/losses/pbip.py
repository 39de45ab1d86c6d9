"""The similarity losses of PBIP as the paper prints them and as the released code computes them.

``losses/infonce`` has the form that the preset ``corrected`` uses.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import softplus


def printed_foreground(
    cosines: Float[Tensor, "samples prototypes"], own: Bool[Tensor, "samples prototypes"], temperature: float
) -> Float[Tensor, " samples"]:
    """Return ``L_FGS`` per sample (PBIP, CVPR 2025, Eqs. 9 and 10).

        s_FF = sum of f_FG . P over the class's own prototypes,  s_FB = the same over all others
        L_FGS = -log( e^(s_FF / T) / (e^(s_FF / T) + e^(s_FB / T)) )

    Args:
        cosines: of foreground features and prototypes.
        own: which prototypes are of the sample's class.
        temperature: ``T``.
    """
    return softplus(((cosines * ~own).sum(1) - (cosines * own).sum(1)) / temperature)


def printed_background(
    cosines: Float[Tensor, "samples prototypes"], own: Bool[Tensor, "samples prototypes"], temperature: float
) -> Float[Tensor, " samples"]:
    """Return ``L_BGS`` per sample (PBIP, CVPR 2025, Eqs. 11 and 12).

        s_BB = mean of f_BG . P over the other classes' prototypes,  s_BF = mean over the class's own
        L_BGS = -log( e^(s_BB / T) / (e^(s_BF / T) + e^(s_BB / T)) )

    Arguments as ``printed_foreground``, with background features. A sample whose class owns all prototypes gives 0.
    """
    others = (~own).sum(1)
    matching = (cosines * ~own).sum(1) / others.clamp(min=1)
    straying = (cosines * own).sum(1) / own.sum(1).clamp(min=1)
    return softplus((straying - matching) / temperature).where(others > 0, torch.zeros_like(matching))


def released_foreground(
    logits: Float[Tensor, "samples prototypes"], own: Bool[Tensor, "samples prototypes"]
) -> Float[Tensor, ""]:
    """Return ``-log( sum_s a_s / sum_s (a_s + sum B_s) )``: one ratio over the batch.

    ``a_s`` is the exponential of the sample's own logit, ``B_s`` those of all other prototypes. Samples of high
    similarity outweigh the rest (PBIP repository, `utils/contrast_loss.py`).

    Args:
        logits: cosines over temperature, at least one sample.
        own: exactly one True per sample.
    """
    return logits.flatten().logsumexp(0) - logits[own].logsumexp(0)


def released_background(
    logits: Float[Tensor, "samples prototypes"], own: Bool[Tensor, "samples prototypes"]
) -> Float[Tensor, ""]:
    """Return ``-log( sum_s mean(B_s) / sum_s (mean(B_s) + a_s) )``; arguments as ``released_foreground``.

    With a single prototype there is no other, and the loss is 0.
    """
    others = logits.shape[1] - 1
    if not others:
        return logits.sum() * 0.0
    matching = logits[~own].logsumexp(0) - math.log(others)
    return softplus(logits[own].logsumexp(0) - matching)
