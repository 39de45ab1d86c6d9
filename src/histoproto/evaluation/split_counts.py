"""What is kept of an evaluation: for every image its pixel counts under each rule, as Parquet.

Every figure of a split, its intervals and its comparison with other methods come from this one table::

    image        the image's file name with its ending
    sha256       of the image file
    group        slide or patient
    variant      how the mask was made: main, one-view, unrefined
    gate         predicted, oracle, none, or unknown for masks made elsewhere
    background   ignored or counted
    confusion    values * values counts row by row (rows truth, columns prediction, background last)
    band_both    ratios * classes pixels in both boundary bands
    band_any     ratios * classes pixels in at least one of them
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from histoproto.atomic import replacing
from histoproto.errors import RunError
from histoproto.metrics.counts import BOUNDARY_RATIOS, BackgroundRule, PixelCounts

MAIN = "main"
"""Masks as the run is set to make them."""
ONE_VIEW = "one-view"
"""The same without averaging over views (no test-time augmentation)."""
UNREFINED = "unrefined"
"""The same without the refiner."""


class Rule(NamedTuple):
    """Under which rule a mask was made and counted."""

    variant: str
    gate: str
    background: BackgroundRule


class ImageKey(NamedTuple):
    """Which image it is, wherever it lies."""

    name: str
    """File name with its ending."""
    sha256: str
    group: str
    """Source slide or patient."""


@dataclass(frozen=True)
class SplitCounts:
    """Counts of all images of a split, in one order under every rule."""

    images: tuple[ImageKey, ...]
    counts: dict[Rule, PixelCounts]
    """Stacked over ``images``."""

    @property
    def groups(self) -> tuple[str, ...]:
        """Group of each image."""
        return tuple(image.group for image in self.images)

    def by_group(self, rule: Rule) -> PixelCounts:
        """Return counts summed within each group, groups in order of their first image."""
        counts = self.counts[rule]
        order = {group: index for index, group in enumerate(dict.fromkeys(self.groups))}
        members = torch.zeros(len(order), len(self.images), dtype=torch.float64)
        for image, group in enumerate(self.groups):
            members[order[group], image] = 1
        return counts.weighted(members)

    def write(self, file: Path) -> None:
        """Write the table, atomically."""
        rows = [
            {**image._asdict(), **rule._asdict(), **_flat(counts, index)}
            for rule, counts in self.counts.items()
            for index, image in enumerate(self.images)
        ]
        table = pd.DataFrame(rows).rename(columns={"name": "image"})
        with replacing(file) as temporary:
            table.to_parquet(temporary, index=False)

    @classmethod
    def read(cls, file: Path, classes: int) -> "SplitCounts":
        """Read what ``write`` wrote.

        Args:
            file: the table.
            classes: number of tissue classes.

        Raises:
            RunError: if there is no such table, or it cannot be read.
        """
        if not file.is_file():
            run = file.parent.parent
            raise RunError(f"{run} has no counts per image ({file.name}); make them with: histoproto evaluate {run}")
        try:
            table = pd.read_parquet(file).rename(columns={"image": "name"})
            fields = list(Rule._fields)
            keyed = {Rule(*rows[fields].iloc[0]): rows for _, rows in table.groupby(fields, sort=False)}
            first = next(iter(keyed.values()))
            images = tuple(ImageKey(*row) for row in first[list(ImageKey._fields)].itertuples(index=False))
            return cls(images, {rule: _stacked(rows, classes) for rule, rows in keyed.items()})
        except (OSError, ValueError, KeyError, StopIteration, RuntimeError) as error:
            raise RunError(f"{file} cannot be read ({error}); evaluate {file.parent.parent} again") from None


def _flat(counts: PixelCounts, index: int) -> dict[str, list[int]]:
    return {
        "confusion": counts.confusion[index].flatten().tolist(),
        "band_both": counts.intersection[index].flatten().tolist(),
        "band_any": counts.union[index].flatten().tolist(),
    }


def _stacked(rows: pd.DataFrame, classes: int) -> PixelCounts:
    values = classes + 1
    return PixelCounts(
        _tensor(rows["confusion"]).reshape(-1, values, values),
        _tensor(rows["band_both"]).reshape(-1, len(BOUNDARY_RATIOS), classes),
        _tensor(rows["band_any"]).reshape(-1, len(BOUNDARY_RATIOS), classes),
    )


def _tensor(column: "pd.Series[Any]") -> Tensor:
    return torch.tensor(np.stack(list(column)), dtype=torch.int64)
