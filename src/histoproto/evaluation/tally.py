"""Counts gathered image by image."""

from histoproto.data.manifest import PatchRecord
from histoproto.evaluation.split_counts import ImageKey, Rule, SplitCounts
from histoproto.metrics.counts import PixelCounts


class Tally:
    """A split that is being counted."""

    def __init__(self) -> None:
        self._images: list[ImageKey] = []
        self._counts: dict[Rule, list[PixelCounts]] = {}

    def add(self, record: PatchRecord, found: dict[Rule, PixelCounts]) -> None:
        """Add the counts of one image, the same rules for every image."""
        self._images.append(ImageKey(record.name, record.sha256 or "", record.group))
        for rule, counts in found.items():
            self._counts.setdefault(rule, []).append(counts)

    def finished(self) -> SplitCounts:
        """Return the counts of all images."""
        stacked = {rule: PixelCounts.stacked(counts) for rule, counts in self._counts.items()}
        return SplitCounts(tuple(self._images), stacked)
