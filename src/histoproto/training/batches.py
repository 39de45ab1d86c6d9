"""What training needs to know about a batch, and how batches are read."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from histoproto.training.interruption import ignore_in_worker


@runtime_checkable
class LabelledBatch(Protocol):
    """Several patches of one size, as the collate function makes them."""

    @property
    def images(self) -> Tensor:
        """RGB, uint8 ``(batch, 3, height, width)``."""

    @property
    def labels(self) -> Tensor:
        """1 where a class is present, float32 ``(batch, classes)``."""

    @property
    def names(self) -> Sequence[str]:
        """The patches' names, for error messages."""

    @property
    def indices(self) -> Tensor:
        """Each patch's place in the data set, int64 ``(batch,)``."""


Collate = Callable[[list[Any]], LabelledBatch]


def length(dataset: Dataset[Any]) -> int:
    """Return the number of patches."""
    return len(dataset)  # type: ignore[arg-type]  # torch's Dataset does not declare that it has one


class Redrawn(Dataset[Any]):
    """A data set by ticket: ticket ``t`` is patch ``t mod n``, under the index ``t``.

    Augmentation depends on the index, so a patch that an epoch shows twice is varied twice.

    Args:
        dataset: patches; where an epoch repeats any, dataclasses with an ``index``.
    """

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return length(self.dataset)

    def __getitem__(self, ticket: int) -> Any:
        patch = self.dataset[ticket % len(self)]
        return patch if ticket < len(self) else replace(patch, index=ticket)


def read_batches(
    dataset: Dataset[Any], collate: Collate, batches: Iterable[list[int]], workers: int
) -> Iterator[LabelledBatch]:
    """Return an iterator that reads the given batches; with workers, they start now and read ahead."""
    loader = DataLoader(
        dataset,
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=workers,
        worker_init_fn=ignore_in_worker,
        generator=torch.Generator(),  # the loader draws a seed for its workers; let it draw from its own
    )
    return iter(loader)


def as_images(
    pixels: UInt8[Tensor, "batch 3 height width"],
) -> Float[Tensor, "batch 3 height width"]:
    """Return RGB in [0, 1], with the memory layout that convolutions like best."""
    return (pixels.float() / 255).contiguous(memory_format=torch.channels_last)
