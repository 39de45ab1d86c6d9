"""Which patches each optimiser step sees: a pure function of the seed and the step."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from histoproto.errors import ConfigError, TrainingError
from histoproto.training.seeds import derive_seed


@dataclass(frozen=True)
class BatchPlan:
    """The batches of a whole training, and the share of one process.

    An epoch is one random order of all patches, cut into global batches; what is left over at its end is dropped
    (the next epoch's order is another one). With fewer patches than one batch, an epoch is a single batch of all
    of them. Every process takes its slice of each global batch, so n processes see what one would.

    With weights an epoch has as many draws as there are patches, and a patch is drawn as often as its share of the
    weights says, rounded up or down at random (systematic sampling). What is drawn is a *ticket*: the patch's number
    the first time in an epoch, and one more multiple of ``samples`` each further time (see `batches.Redrawn`).

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
    weights: tuple[float, ...] | None = None
    """How often each patch is drawn, relative to the others; None draws each once an epoch."""

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
        """Return the tickets of an epoch in their order."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, epoch))
        order = torch.randperm(self.samples, generator=generator)
        if self.weights is not None:
            order = self._draw(order, generator)
        tickets: list[int] = order.tolist()
        return tickets

    def _draw(self, order: Tensor, generator: torch.Generator) -> Tensor:
        """Draw ``samples`` tickets by weight: evenly spaced points on the weights laid end to end, at random start."""
        ends = torch.tensor(self.weights, dtype=torch.float64)[order].cumsum(0)
        start = torch.rand((), generator=generator, dtype=torch.float64)
        points = (torch.arange(self.samples) + start) * (ends[-1] / self.samples)
        places = torch.searchsorted(ends, points, right=True).clamp(max=self.samples - 1)  # sorted
        first = torch.searchsorted(places, places)
        tickets = order[places] + self.samples * (torch.arange(self.samples) - first)
        return tickets[torch.randperm(self.samples, generator=generator)]

    def batches(self, start: int, stop: int) -> Iterator[list[int]]:
        """Yield this process's tickets of each step from ``start`` up to, not including, ``stop``."""
        share = self.batch_size // self.processes
        order: list[int] = []
        for step in range(start, stop):
            epoch, place = divmod(step, self.steps_per_epoch)
            if not order or place == 0:
                order = self.order(epoch)
            first = place * self.batch_size + self.rank * share
            yield order[first : first + share]
