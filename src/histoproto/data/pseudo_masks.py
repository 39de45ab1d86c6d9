"""Patches of a study with the pseudo masks that a run has made for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from histoproto.cams.confidence import class_thresholds, confidence_histogram
from histoproto.data.manifest import PatchRecord
from histoproto.data.patches import Batch, Patch, PatchDataset, collate
from histoproto.errors import ConfigError, DataError
from histoproto.masks import read_indices, read_mask
from histoproto.progress import Advance
from histoproto.taxonomy import IGNORE, Taxonomy


@dataclass(frozen=True)
class MaskFiles:
    """Where the pseudo mask of a patch lies."""

    mask: Path
    confidence: Path


class Kept(NamedTuple):
    """Which pixels are sure enough to be learned from."""

    least: tuple[int, ...]
    """Least confidence of each class, 0..255."""
    shares: tuple[float, ...]
    """Share of each class's pixels that stays; more than was asked for where many pixels are equally sure."""


@dataclass(frozen=True)
class MaskedPatch(Patch):
    """One labelled patch with a pseudo mask."""

    mask: UInt8[Tensor, "height width"]
    """Class index, ``classes`` where background, 255 where nobody knows or the mask is not sure enough."""


@dataclass(frozen=True)
class MaskedBatch(Batch):
    """Several of them, of one size."""

    masks: UInt8[Tensor, "batch height width"]


class MaskedPatchDataset(Dataset[MaskedPatch]):
    """Labelled patches with their pseudo masks, read from disk when asked for.

    Args:
        patches: the patches.
        files: the mask of each patch by the patch's path.
        taxonomy: classes of the masks.
        thresholds: least confidence (0..255) of each class; less sure pixels become 255.
    """

    def __init__(
        self, patches: PatchDataset, files: Mapping[Path, MaskFiles], taxonomy: Taxonomy, thresholds: Sequence[int]
    ) -> None:
        self.patches = patches
        self.files = files
        self.taxonomy = taxonomy
        # of every mask value: background and 255 need no confidence
        self.least = np.zeros(256, dtype=np.uint8)
        self.least[: len(thresholds)] = thresholds

    def __len__(self) -> int:
        return len(self.patches)

    def __getitem__(self, index: int) -> MaskedPatch:
        """Read a patch and its mask.

        Raises:
            DataError: if a file cannot be read, or mask and patch differ in size.
        """
        patch, record = self.patches[index], self.patches.records[index]
        files = self.files[record.path]
        mask, confidence = read_mask(files.mask, self.taxonomy), read_indices(files.confidence)
        size = (record.height_px, record.width_px)
        if mask.shape != confidence.shape or mask.shape != size:
            raise DataError(
                f"{files.mask}: {mask.shape[1]} x {mask.shape[0]} px, its confidence {confidence.shape[1]} x "
                f"{confidence.shape[0]} and its patch {size[1]} x {size[0]}; make the masks again"
            )
        mask = np.where(confidence < self.least[mask], IGNORE, mask).astype(np.uint8)
        side = patch.image.shape[-2:]
        return MaskedPatch(patch.image, patch.labels, patch.name, patch.index, torch.from_numpy(_sized(mask, side)))


def collate_masked(patches: Sequence[MaskedPatch]) -> MaskedBatch:
    """Stack patches of one size into a batch; errors as ``patches.collate``."""
    batch = collate(patches)
    masks = torch.stack([patch.mask for patch in patches])
    return MaskedBatch(batch.images, batch.labels, batch.names, batch.indices, masks)


def read_mask_files(folder: Path, records: Sequence[PatchRecord]) -> dict[Path, MaskFiles]:
    """Return the files of each patch, as the manifest of ``histoproto masks`` names them.

    Raises:
        DataError: if the manifest cannot be read or a patch is not in it.
    """
    try:
        table = pd.read_parquet(folder / "manifest.parquet", columns=["image", "mask", "confidence"])
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: no manifest of masks can be read ({error}); make the masks again") from None
    rows = zip(*(table[column].map(Path) for column in table), strict=True)
    files = {image: MaskFiles(mask, confidence) for image, mask, confidence in rows}
    missing = [record.path for record in records if record.path not in files]
    if missing:
        raise DataError(
            f"{folder} has no mask of {missing[0]} and of {len(missing) - 1} other patches; these masks are of another "
            "study: make them again"
        )
    return files


def find_thresholds(
    records: Sequence[PatchRecord],
    files: Mapping[Path, MaskFiles],
    taxonomy: Taxonomy,
    keep: float,
    advance: Advance,
) -> Kept:
    """Return the least confidence of each class at which ``keep`` of its pixels stay.

    Args:
        records: patches.
        files: their masks.
        taxonomy: classes of the masks.
        keep: share of each class's pixels, above 0 and at most 1.
        advance: called with the number of masks just read.

    Raises:
        ConfigError: if the share is less than one pixel of a class.
        DataError: if a mask cannot be read, or a class has no pixel in any.
    """
    histogram = torch.zeros(len(taxonomy), 256, dtype=torch.int64)
    for record in records:
        mask = torch.from_numpy(read_mask(files[record.path].mask, taxonomy))
        confidence = torch.from_numpy(read_indices(files[record.path].confidence))
        histogram += confidence_histogram(mask, confidence, len(taxonomy))
        advance(1)
    empty = [name for name, pixels in zip(taxonomy.classes, histogram.sum(1).tolist(), strict=True) if not pixels]
    if empty:
        raise DataError(
            f"no pseudo mask holds any {', '.join(empty)}, so nothing could learn it; look at the masks, train the "
            "first stage longer, or import the study without this class"
        )
    for name, pixels in zip(taxonomy.classes, histogram.sum(1).tolist(), strict=True):
        if keep * pixels < 1:
            raise ConfigError(
                f"keep {keep:g} leaves no pixel of {name}, of which the pseudo masks hold {pixels}; start again in "
                "another run folder with a larger share"
            )
    least = class_thresholds(histogram, keep)
    staying = histogram * (torch.arange(256) >= least[:, None])
    return Kept(tuple(least.tolist()), tuple((staying.sum(1) / histogram.sum(1)).tolist()))


def _sized(mask: NDArray[np.uint8], side: Sequence[int]) -> NDArray[np.uint8]:
    if mask.shape == tuple(side):
        return mask
    return np.array(Image.fromarray(mask).resize((side[1], side[0]), Image.Resampling.NEAREST))
