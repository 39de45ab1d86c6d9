"""Running means of the loss and its terms, without waiting for the device at each step."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

Sums = dict[str, tuple[float, int]]
"""Sum of each term over patches, and their number."""


class TermSums:
    """Adds up terms on their device; a term may be absent in some steps, and then does not count in them."""

    def __init__(self, begin: Sums, device: torch.device) -> None:
        """Start from sums that were read, for example from a checkpoint."""
        self._sums = {name: torch.tensor(total, device=device) for name, (total, _) in begin.items()}
        self._counts = {name: count for name, (_, count) in begin.items()}

    def add(self, terms: Mapping[str, Tensor], patches: int) -> None:
        """Add one step's terms, which are means over this process's patches.

        Args:
            terms: of the step.
            patches: how many, so that an epoch that other processes went on with has the same means.
        """
        for name, value in terms.items():
            added = value.float() * patches
            self._sums[name] = self._sums[name] + added if name in self._sums else added
            self._counts[name] = self._counts.get(name, 0) + patches

    def clear(self) -> None:
        """Begin anew."""
        self._sums.clear()
        self._counts.clear()

    def read(self) -> Sums:
        """Return the sums so far. Waits for the device."""
        return {name: (float(total), self._counts[name]) for name, total in self._sums.items()}


def merged(parts: Iterable[Sums]) -> Sums:
    """Return the sums over several processes."""
    total: Sums = {}
    for part in parts:
        for name, (value, count) in part.items():
            before = total.get(name, (0.0, 0))
            total[name] = (before[0] + value, before[1] + count)
    return total


def means(sums: Sums) -> dict[str, float]:
    """Return the mean of each term."""
    return {name: total / count for name, (total, count) in sums.items()}
