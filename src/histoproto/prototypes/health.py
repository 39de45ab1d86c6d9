"""Prototypes that do not pull their weight: dead ones, and several that do the work of one."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from jaxtyping import Float
from torch import Tensor

DEAD_SHARE = 0.01
"""Below this activation share a prototype is dead."""
ALIKE = 0.98
"""From this correlation of activation maps on, prototypes are duplicates."""


class Finding(NamedTuple):
    """Something wrong with one prototype or several."""

    kind: Literal["dead", "duplicate"]
    prototypes: tuple[int, ...]
    """Rows, in class order."""
    value: float
    """Activation share of the dead one; lowest correlation that joins the duplicates."""


def find_dead(shares: Sequence[float | None]) -> list[Finding]:
    """Return the prototypes that (almost) never win within their class; an unknown share (None) is no finding."""
    return [
        Finding("dead", (index,), share)
        for index, share in enumerate(shares)
        if share is not None and share < DEAD_SHARE
    ]


def find_duplicates(correlation: Float[Tensor, "prototypes prototypes"]) -> list[Finding]:
    """Return groups of prototypes whose activation maps rise and fall together, each linked to the next of its group.

    Args:
        correlation: of activation maps, in [-1, 1].
    """
    linked = (correlation >= ALIKE).tolist()
    values = correlation.tolist()
    seen: set[int] = set()
    findings = []
    for start in range(len(linked)):
        group = _reached(linked, start) if start not in seen else [start]
        seen.update(group)
        if len(group) > 1:
            joining = [values[a][b] for a in group for b in group if a < b and linked[a][b]]
            findings.append(Finding("duplicate", tuple(group), min(joining)))
    return findings


def superfluous(findings: Sequence[Finding]) -> set[int]:
    """Return the prototypes that could go: the dead, and of each group of duplicates all but the first alive."""
    dead = {finding.prototypes[0] for finding in findings if finding.kind == "dead"}
    spare = set(dead)
    for finding in findings:
        if finding.kind == "duplicate":
            spare.update([index for index in finding.prototypes if index not in dead][1:])
    return spare


def _reached(linked: Sequence[Sequence[bool]], start: int) -> list[int]:
    """Return everything that links lead to, in order."""
    reached, edge = {start}, [start]
    while edge:
        here = edge.pop()
        new = [other for other, link in enumerate(linked[here]) if link and other not in reached]
        reached.update(new)
        edge += new
    return sorted(reached)
