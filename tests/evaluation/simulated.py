"""Evaluations drawn from a known truth."""

import torch

from histoproto.evaluation.split_counts import MAIN, ImageKey, Rule, SplitCounts
from histoproto.metrics.counts import BOUNDARY_RATIOS, PixelCounts

RULE = Rule(MAIN, "predicted", "ignored")
PIXELS = 400


def counts_of(confusion):
    """Return counts with the given matrices ``(images, values, values)`` and empty bands."""
    images, values, _ = confusion.shape
    bands = torch.zeros(images, len(BOUNDARY_RATIOS), values - 1, dtype=torch.int64)
    return PixelCounts(confusion.long(), bands, bands)


def two_class_slides(random, slides, skill):
    """Draw slides of two tissues whose difficulty and make-up vary from slide to slide.

    Args:
        random: a torch generator.
        slides: how many.
        skill: mean share of pixels named rightly, ``(slides,)`` or one number.

    Returns:
        Counts, one stack member per slide.
    """
    make_up = torch.rand(slides, generator=random)
    rightly = (skill + 0.15 * torch.randn(slides, 2, generator=random)).clamp(0, 1)
    true = torch.stack([make_up, 1 - make_up], 1) * PIXELS
    confusion = torch.zeros(slides, 3, 3)
    for own in (0, 1):
        confusion[:, own, own] = (true[:, own] * rightly[:, own]).round()
        confusion[:, own, 1 - own] = true[:, own].round() - confusion[:, own, own]
    return counts_of(confusion)


def split_of(counts, groups=None, rule=RULE):
    """Return counts as those of a split, each image its own group unless named."""
    names = groups or [f"slide_{index}" for index in range(len(counts))]
    images = tuple(ImageKey(f"{index}.png", "", group) for index, group in enumerate(names))
    return SplitCounts(images, {rule: counts})
