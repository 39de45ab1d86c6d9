"""From a batch to what a training step takes: on the device, augmented, in the layout that convolutions like best."""

from collections.abc import Callable
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from histoproto.training.augment import draw, turn, vary
from histoproto.training.batches import LabelledBatch, as_images
from histoproto.training.mosaic import Mosaics
from histoproto.training.seeds import AUGMENT, derive_seed
from histoproto.training.settings import AugmentSettings

ToDevice = Callable[[Tensor], Tensor]
Prepare = Callable[[LabelledBatch, ToDevice, int], tuple[Tensor, ...]]
"""Takes a batch, what moves a tensor to the device, and the epoch from 0."""


@runtime_checkable
class MaskedBatch(LabelledBatch, Protocol):
    """Labelled patches with a class per pixel."""

    @property
    def masks(self) -> Tensor:
        """Class index, ``classes`` where background, 255 where nobody knows; uint8 ``(batch, height, width)``."""


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


def masked(augment: AugmentSettings, seed: int, mosaics: Mosaics | None) -> Prepare:
    """Return what prepares images, labels, masks, and which of the images were composed.

    Args:
        augment: how patches are varied; masks turn with them.
        seed: seed of the run.
        mosaics: replaces some images; None leaves all as they are.
    """

    def prepare(batch: LabelledBatch, to_device: ToDevice, epoch: int) -> tuple[Tensor, ...]:
        given = cast(MaskedBatch, batch)
        images, labels = as_images(to_device(given.images)), to_device(given.labels)
        masks = to_device(given.masks).long()
        composed = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        if mosaics is not None:
            made = mosaics(images, labels, masks, given.indices, epoch)
            images, labels, masks, composed = made.images, made.labels, made.masks, made.composed
        draws = draw(given.indices, derive_seed(seed, AUGMENT), epoch).to(images.device)
        images = vary(images, draws, augment).contiguous(memory_format=torch.channels_last)
        return images, labels, turn(masks[:, None], draws, augment)[:, 0], composed

    return prepare
