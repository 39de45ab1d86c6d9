"""Several methods on the same images: what the page shows of their comparison."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from histoproto.reports.lead import GATES
from histoproto.reports.reading import Example, RunContents

MOST_SHOWN = 6
"""Methods whose masks are shown side by side."""
EACH = 3
"""Patches of each kind that are shown."""


@dataclass(frozen=True)
class Comparison:
    """What the page is given."""

    told: dict[str, Any]
    """As ``eval/comparison.json`` holds it."""
    shown: Sequence[tuple[str, RunContents]]
    """Of each method its name and the run whose masks are shown; all list the same images in the same order."""


class Patch(NamedTuple):
    """One patch under several methods."""

    examples: Sequence[Example]
    """One for each method."""

    @property
    def scores(self) -> list[float]:
        """Mean IoU under each method."""
        return [example.miou for example in self.examples if example.miou is not None]


class ChosenPatches(NamedTuple):
    """A group of patches under one heading."""

    title: str
    patches: list[Patch]


def choose_patches(runs: Sequence[Sequence[Example]], each: int = EACH) -> list[ChosenPatches]:
    """Return patches where methods differ most, where all are good and where all fail, none twice.

    *Differ*: by the gap between the best and the worst mean IoU. *Good*: by the worst method. *Fail*: by the best.

    Args:
        runs: examples of each method, in one order.
        each: how many of each kind, fewer where there are few patches.
    """
    left = [Patch(same) for same in zip(*runs, strict=True) if all(example.miou is not None for example in same)]
    each = min(each, max(1, len(left) // 3))
    chosen = []
    for title, rank in RANKS.items():
        ranked = sorted(left, key=_by(rank), reverse=True)
        chosen.append(ChosenPatches(title, ranked[:each]))
        left = ranked[each:]
    return [group for group in chosen if group.patches]


def caution(told: dict[str, Any]) -> str:
    """Return what makes a comparison unfair; empty if nothing does."""
    gates = told.get("rule", {})
    if len(set(gates.values())) < 2:
        return ""
    named = "; ".join(f"{name}: {GATES[gate].title.lower()}" for name, gate in gates.items())
    return f"The methods do not use the same gate ({named}), so part of a difference may be the gate's."


def _gap(patch: Patch) -> float:
    return max(patch.scores) - min(patch.scores)


def _worst(patch: Patch) -> float:
    return min(patch.scores)


def _best(patch: Patch) -> float:
    return -max(patch.scores)


def _by(rank: Callable[[Patch], float]) -> Callable[[Patch], tuple[float, str]]:
    return lambda patch: (rank(patch), patch.examples[0].name)


RANKS: dict[str, Callable[[Patch], float]] = {
    "Where the methods differ most": _gap,
    "Where all are good": _worst,
    "Where all fail": _best,
}
