"""Keeping whole source groups out of training: by hashed order, with every class on both sides if it can be spared."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple


class LabelledPatch(NamedTuple):
    """What the choice of groups depends on."""

    group: str
    labels: str
    """Digits such as ``1101``."""


def held_out_groups(patches: Sequence[LabelledPatch], fraction: float) -> set[str]:
    """Return the groups to keep out of training, about ``fraction`` of the patches.

    First each class, rarest first, gets the group that shows about that fraction of its patches; then the set
    is filled up, in the order of the sha256 of the groups' names, for as long as that brings it nearer to the
    fraction. A group stays in training if a class would lose more than a third of its training patches (more only
    where the fraction itself asks for more): a class that few sources show is needed there.

    Args:
        patches: training patches.
        fraction: share of the patches to keep out, 0..0.5.
    """
    # in a study of very few sources nothing can be spared that generously: there a class keeps one patch at least
    return _chosen(patches, fraction, max(1 / 3, 2 * fraction)) or _chosen(patches, fraction, 1.0)


def _chosen(patches: Sequence[LabelledPatch], fraction: float, most: float) -> set[str]:
    """Return the groups, with no class losing more than the share ``most`` of its patches."""
    choice = _Choice(patches, most)
    target = fraction * len(patches)
    for place in choice.classes_by_rarity() if target else ():
        choice.cover(place, fraction)
    for group in choice.order:
        if choice.can_go(group) and abs(choice.with_group(group) - target) < abs(choice.count - target):
            choice.take(group)
    return choice.taken


class _Choice:
    """Groups taken out of training so far and what is left in it."""

    def __init__(self, patches: Sequence[LabelledPatch], most: float) -> None:
        self.total = len(patches)
        self.sizes = Counter(patch.group for patch in patches)
        self.order = sorted(self.sizes, key=lambda group: hashlib.sha256(group.encode()).hexdigest())
        self.shown = {group: Counter[int]() for group in self.order}
        for patch in patches:
            present = (place for place, digit in enumerate(patch.labels) if digit == "1")
            self.shown[patch.group].update(present)
        self.left: Counter[int] = sum(self.shown.values(), Counter())
        self.least = {place: max(1, (1 - most) * count) for place, count in self.left.items()}
        self.taken: set[str] = set()
        self.count = 0

    def classes_by_rarity(self) -> list[int]:
        return sorted(self.left, key=lambda place: (self.left[place], place))

    def with_group(self, group: str) -> int:
        return self.count + self.sizes[group]

    def can_go(self, group: str) -> bool:
        shown = self.shown[group]
        stays = self.total - self.with_group(group)
        return (
            group not in self.taken
            and stays > 0
            and all(self.left[place] - shown[place] >= self.least[place] for place in shown)
        )

    def cover(self, place: int, fraction: float) -> None:
        if any(self.shown[group][place] for group in self.taken):
            return
        wanted = fraction * self.left[place]
        fitting = [
            group
            for group in self.order
            if self.shown[group][place] and self.can_go(group) and self.with_group(group) <= self.total / 2
        ]
        if fitting:
            self.take(min(fitting, key=lambda group: abs(self.shown[group][place] - wanted)))

    def take(self, group: str) -> None:
        self.taken.add(group)
        self.count += self.sizes[group]
        self.left = self.left - self.shown[group]
