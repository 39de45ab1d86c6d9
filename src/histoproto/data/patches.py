"""Patches of a study as tensors for training."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from histoproto.data.manifest import PatchRecord
from histoproto.errors import DataError, LabelError
from histoproto.images import read_rgb


@dataclass(frozen=True)
class Patch:
    """One labelled patch."""

    image: UInt8[Tensor, "3 height width"]
    """RGB, 0..255; divide by 255 on the device that trains."""
    labels: Float[Tensor, " classes"]
    """1 where a class is present, else 0."""
    name: str
    """File name."""
    index: int
    """Place in the data set."""


@dataclass(frozen=True)
class Batch:
    """Several patches of one size."""

    images: UInt8[Tensor, "batch 3 height width"]
    labels: Float[Tensor, "batch classes"]
    names: list[str]
    indices: Int64[Tensor, " batch"]


class PatchDataset(Dataset[Patch]):
    """Labelled patches, read from disk when asked for."""

    def __init__(self, records: Sequence[PatchRecord], size_px: int | None = None) -> None:
        """Check that the patches can make batches.

        Args:
            records: what ``Study.split`` returns.
            size_px: resize each patch to a square of this side (bilinear with antialiasing, the aspect is not
                kept); None takes them as they are.

        Raises:
            DataError: if the patches differ in size and no size was given.
            LabelError: if a patch has no labels.
        """
        self.records = list(records)
        self.size_px = size_px
        unlabelled = [record for record in self.records if record.labels is None]
        if unlabelled:
            raise LabelError(
                f"{unlabelled[0].path}: no image-level labels, nor have {len(unlabelled) - 1} other patches; "
                "train on a split with labels"
            )
        if size_px is None:
            self._check_sizes()

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Patch:
        """Read and decode one patch.

        Raises:
            DataError: if the file cannot be read as an 8-bit RGB image.
        """
        record = self.records[index]
        rgb = read_rgb(record.path)
        if self.size_px is not None and rgb.shape[:2] != (self.size_px, self.size_px):
            side = (self.size_px, self.size_px)
            rgb = np.asarray(Image.fromarray(rgb).resize(side, Image.Resampling.BILINEAR))
        image = torch.from_numpy(rgb.transpose(2, 0, 1).copy())
        labels = torch.tensor(record.labels, dtype=torch.float32)
        return Patch(image, labels, record.name, index)

    def _check_sizes(self) -> None:
        sizes: dict[tuple[int | None, int | None], PatchRecord] = {}
        for record in self.records:
            if record.width_px is None:
                raise DataError(f"{record.path}: could not be read at the import; see why with: histoproto data check")
            sizes.setdefault((record.width_px, record.height_px), record)
        if len(sizes) > 1:
            (size, first), (other_size, other), *_ = sizes.items()
            raise DataError(
                f"{other.path}: {_words(other_size)}, but {first.name} is {_words(size)}; patches of one batch "
                "need one size: resize all with --patch-px, for example --patch-px 224"
            )


def collate(patches: Sequence[Patch]) -> Batch:
    """Stack patches of one size into a batch, for ``DataLoader(collate_fn=...)``.

    Raises:
        DataError: if a file has changed its size since the import.
    """
    for patch in patches:
        if patch.image.shape != patches[0].image.shape:
            raise DataError(
                f"{patch.name}: another size than {patches[0].name}; import the study again, or use --patch-px"
            )
    return Batch(
        images=torch.stack([patch.image for patch in patches]),
        labels=torch.stack([patch.labels for patch in patches]),
        names=[patch.name for patch in patches],
        indices=torch.tensor([patch.index for patch in patches]),
    )


def _words(size: tuple[int | None, int | None]) -> str:
    width_px, height_px = size
    return f"{width_px} x {height_px} px"
