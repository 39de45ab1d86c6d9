"""Which evaluated images to show: the best, those in the middle, the worst."""

from collections.abc import Sequence
from typing import NamedTuple

from histoproto.reports.reading import Example


class Chosen(NamedTuple):
    """A group of examples under one heading."""

    title: str
    examples: list[Example]


def choose_examples(examples: Sequence[Example], each: int = 3) -> list[Chosen]:
    """Return up to ``each`` best, median and worst images by their mean IoU, none twice.

    Images without any tissue have no mean IoU and are left out. With few images the best and the worst
    come before the median.
    """
    ranked = sorted((e for e in examples if e.miou is not None), key=_by_miou, reverse=True)
    each = min(each, max(1, len(ranked) // 3))
    best, rest = ranked[:each], ranked[each:]
    worst = rest[max(0, len(rest) - each) :]
    between = rest[: len(rest) - len(worst)]
    start = max(0, (len(between) - each) // 2)
    groups = [
        Chosen("Best", best),
        Chosen("Median", between[start : start + each]),
        Chosen("Worst", worst),
    ]
    return [group for group in groups if group.examples]


def _by_miou(example: Example) -> tuple[float, str]:
    return (example.miou or 0.0, example.name)
