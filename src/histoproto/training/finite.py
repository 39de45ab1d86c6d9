"""A loss that is no finite number stops training, without the host waiting for the device at each step.

A step is looked at before the next one begins, while its own backward pass still runs on the device, or before anything
is saved. By then a bad step has changed the weights, but no file holds them and no later step has met them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

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
    """Whether all of them are, on the device."""


def watched(step: int, epoch: int, names: Sequence[str], loss: Tensor, terms: Mapping[str, Tensor]) -> Watched:
    """Return what to remember of a step; reads nothing from the device.

    Args:
        step: from 0.
        epoch: from 0.
        names: of the patches of this process.
        loss: a scalar. Call it before the backward pass, or looking at the result waits for that too.
        terms: scalars by their names.
    """
    values = {"loss": loss.detach(), **terms}
    return Watched(step, epoch, names, values, sum(values.values(), loss.new_zeros(())).isfinite())


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
