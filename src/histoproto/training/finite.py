"""A loss that is no finite number stops training, without the host waiting for the device at each step.

A step is looked at before the next one begins, or before anything is saved. By then a bad step has changed the weights,
but no file holds them and no later step has met them. On a GPU the answer is copied as soon as the loss is there:
looking at it waits for the forward pass alone, never for the backward pass behind it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from lightning.fabric import Fabric
from torch import Tensor

from histoproto.errors import TrainingError
from histoproto.training.processes import gather


class Watched(NamedTuple):
    """What is remembered of a step until it is looked at."""

    step: int
    epoch: int
    """From 0."""
    names: Sequence[str]
    """Of the patches of this process."""
    values: Mapping[str, Tensor]
    """The loss, then its terms."""
    finite: Tensor
    """Whether all of them are; on the host, once ``ready`` has come."""
    ready: torch.cuda.Event | None = None
    """None where the device is the host."""

    def is_finite(self) -> bool:
        """Return whether the loss and its terms are finite numbers. Waits for the forward pass."""
        if self.ready is not None:
            self.ready.synchronize()
        return bool(self.finite)


def watched(step: int, epoch: int, names: Sequence[str], loss: Tensor, terms: Mapping[str, Tensor]) -> Watched:
    """Return what to remember of a step; reads nothing from the device.

    Args:
        step: from 0.
        epoch: from 0.
        names: of the patches of this process.
        loss: a scalar. Call this before the backward pass, or looking at the result waits for that too.
        terms: scalars by their names.
    """
    values = {"loss": loss.detach(), **terms}
    finite = sum(values.values(), loss.new_zeros(())).isfinite()
    if not finite.is_cuda:
        return Watched(step, epoch, names, values, finite)
    copied = torch.empty((), dtype=torch.bool, pin_memory=True)
    copied.copy_(finite, non_blocking=True)
    ready = torch.cuda.current_stream(finite.device).record_event()
    return Watched(step, epoch, names, values, copied, ready)


def not_finite(fabric: Fabric, found: Watched, last: Path) -> TrainingError:
    """Return the error that names the terms, and the patches of every process whose loss is not finite.

    Args:
        fabric: where all processes meet.
        found: the step, in each process.
        last: the last checkpoint, which is good.
    """
    bad = [name for name, value in found.values.items() if not value.isfinite()]
    shares = gather(fabric, (bad, list(found.names) if bad else []))
    bad_terms = list(dict.fromkeys(name for share in shares for name in share[0]))
    names = [name for share in shares for name in share[1]]
    return TrainingError(
        f"{' and '.join(bad_terms)} not finite at step {found.step} (epoch {found.epoch + 1}) with the patches "
        f"{', '.join(names)}; look at these, or train again with a lower learning rate or in fp32 (the last good "
        f"checkpoint is {last})"
    )
