"""Predicted masks from a folder against true masks."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch

from histoproto.data.manifest import PatchRecord
from histoproto.evaluation.mask_folder import ValueCode, read_prediction
from histoproto.evaluation.split_counts import MAIN, Rule, SplitCounts
from histoproto.evaluation.tally import Tally
from histoproto.evaluation.truth import true_mask
from histoproto.metrics.counts import BACKGROUND_RULES, PixelCounts, count_image
from histoproto.taxonomy import Taxonomy


class CountedMask(NamedTuple):
    """One image whose mask was read."""

    record: PatchRecord
    prediction: Path
    counts: dict[Rule, PixelCounts]


def evaluate_masks(
    masks: Mapping[PatchRecord, Path],
    taxonomy: Taxonomy,
    code: ValueCode,
    gate: str,
    on_image: Callable[[CountedMask], None],
) -> SplitCounts:
    """Compare each mask with the truth, on all cores, a few images in memory at a time.

    Args:
        masks: predicted mask of each image.
        taxonomy: classes of the true masks.
        code: what the values of the predicted masks mean.
        gate: how those who made the masks chose the classes that may appear.
        on_image: called with each image, in order.

    Raises:
        DataError: if a mask cannot be read, or does not fit.
    """

    def count(pair: tuple[PatchRecord, Path]) -> CountedMask:
        record, path = pair
        truth = true_mask(record, None, taxonomy)
        height, width = truth.shape
        prediction = torch.from_numpy(read_prediction(path, (height, width), code, taxonomy))
        target = torch.from_numpy(truth)
        rules = {
            Rule(MAIN, gate, rule): count_image(prediction, target, len(taxonomy), rule) for rule in BACKGROUND_RULES
        }
        return CountedMask(record, path, rules)

    tally = Tally()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for counted in pool.map(count, masks.items()):
            tally.add(counted.record, counted.counts)
            on_image(counted)
    return tally.finished()
