"""Which patches each optimiser step sees: a pure function of the seed and the step."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from histoproto.errors import ConfigError, TrainingError
from histoproto.training.seeds import derive_seed


@dataclass(frozen=True)
class BatchPlan:
    """The batches of a whole training, and the share of one process.

    An epoch is one random order of all patches, cut into global batches; what is left over at its end is dropped
    (the next epoch's order is another one). With fewer patches than one batch, an epoch is a single batch of all
    of them. Every process takes its slice of each global batch, so n processes see what one would.

    Raises:
        ConfigError: if the batch cannot be divided among the processes.
        TrainingError: if there are fewer patches than processes.
    """

    samples: int
    """Training patches."""
    batch: int
    """Patches per step over all processes."""
    seed: int
    processes: int = 1
    rank: int = 0
    """This process, from 0."""

    def __post_init__(self) -> None:
        """Check that each process gets its share."""
        if self.batch % self.processes:
            raise ConfigError(
                f"a batch of {self.batch} cannot be divided among {self.processes} processes; choose a multiple"
            )
        if self.samples < self.processes:
            raise TrainingError(
                f"{self.samples} training patches for {self.processes} processes; check the training split"
            )

    @property
    def batch_size(self) -> int:
        """Patches per step that are really there."""
        return min(self.batch, self.samples - self.samples % self.processes)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in one epoch."""
        return self.samples // self.batch_size

    def order(self, epoch: int) -> list[int]:
        """Return the order of all patches in an epoch."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, epoch))
        order: list[int] = torch.randperm(self.samples, generator=generator).tolist()
        return order

    def batches(self, start: int, stop: int) -> Iterator[list[int]]:
        """Yield this process's patches of each step from ``start`` up to, not including, ``stop``."""
        share = self.batch_size // self.processes
        order: list[int] = []
        for step in range(start, stop):
            epoch, place = divmod(step, self.steps_per_epoch)
            if not order or place == 0:
                order = self.order(epoch)
            first = place * self.batch_size + self.rank * share
            yield order[first : first + share]
