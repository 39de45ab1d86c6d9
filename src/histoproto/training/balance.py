"""How much more often patches with rare classes are drawn."""

from collections.abc import Sequence


def repeat_factors(labels: Sequence[Sequence[int]], threshold: float) -> list[float]:
    """Return each patch's repeat factor ``max over its classes c of max(1, sqrt(threshold / f_c))``.

    Gupta, Dollár and Girshick, "LVIS", CVPR 2019, section 5.2; ``f_c`` is the share of patches that show class c.

    Args:
        labels: 0 or 1 per class, for each patch.
        threshold: classes in at least this share of patches are not repeated, in [0, 1]; 0 repeats nothing.
    """
    if not labels:
        return []
    shares = [sum(column) / len(labels) for column in zip(*labels, strict=True)]
    factors = [max(1.0, (threshold / share) ** 0.5) if share else 1.0 for share in shares]
    return [
        max((factor for factor, present in zip(factors, row, strict=True) if present), default=1.0) for row in labels
    ]
