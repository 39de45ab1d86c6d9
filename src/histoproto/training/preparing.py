"""From a batch to what a training step takes: on the device, augmented, in the layout that convolutions like best."""

from collections.abc import Callable

import torch
from torch import Tensor

from histoproto.training.augment import draw, vary
from histoproto.training.batches import LabelledBatch, as_images
from histoproto.training.seeds import AUGMENT, derive_seed
from histoproto.training.settings import AugmentSettings

ToDevice = Callable[[Tensor], Tensor]
Prepare = Callable[[LabelledBatch, ToDevice, int], tuple[Tensor, ...]]
"""Takes a batch, what moves a tensor to the device, and the epoch from 0."""


def labelled(augment: AugmentSettings, seed: int) -> Prepare:
    """Return what prepares images and labels.

    Args:
        augment: how patches are varied.
        seed: seed of the run.
    """

    def prepare(batch: LabelledBatch, to_device: ToDevice, epoch: int) -> tuple[Tensor, ...]:
        images = as_images(to_device(batch.images))
        draws = draw(batch.indices, derive_seed(seed, AUGMENT), epoch).to(images.device)
        images = vary(images, draws, augment).contiguous(memory_format=torch.channels_last)
        return images, to_device(batch.labels)

    return prepare
