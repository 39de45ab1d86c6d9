"""Training images composed of patches that show a single tissue, so that the class of each pixel is known.

The idea is PistoSeg's (Fang et al., "Weakly-Supervised Semantic Segmentation for Histopathology Images Based on
Dataset Synthesis and Feature Consistency Constraint", AAAI 2023): a patch whose only label is *stroma* is stroma all
over, and a mosaic of such patches has a true mask.

*Differences*: regions have random smooth outlines instead of a grid's, and fade into each other over a few pixels, so
that neither straight nor sharp edges give them away; patches of one slide are put together where it shows two classes,
and patches of several slides have their stain varied one by one, so that the stain does not tell the regions apart;
every class has its share of the mosaics, however rare it is; a region may also be pasted into an ordinary training
image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from histoproto.cams.background import white_background
from histoproto.training.augment import STAIN_DRAWS, vary_stain_at_random
from histoproto.training.seeds import derive_seed, uniform_draws
from histoproto.training.settings import AugmentSettings, MosaicSettings

Choice = TypeVar("Choice")

SOURCES = 3
"""Patches in a mosaic; in a pasted image, one."""
CELLS = 4
"""Cells of the random fields along a side: a region is about a quarter of the image wide."""
SHARPNESS = 4.0
"""Steepness of the border between two regions, in units of a random field's typical slope per pixel."""
FIELDS = 2 + 2 * SOURCES
"""Place of the first random number of the fields, after what the image becomes, its slide, a class and a patch each."""
STAINS = FIELDS + SOURCES * (CELLS + 1) ** 2
"""Place of the first random number of the stains, after the fields."""
DRAWS = STAINS + SOURCES * STAIN_DRAWS
"""Random numbers per image."""


@dataclass(frozen=True)
class MosaicBank:
    """Patches with one label, in memory, by class and slide."""

    images: UInt8[Tensor, "patches 3 height width"]
    classes: tuple[int, ...]
    """Class of each patch."""
    groups: tuple[str, ...]
    """Slide or patient of each patch."""

    def shelves(self) -> dict[str, dict[int, list[int]]]:
        """Return which patches of each slide show which class."""
        found: dict[str, dict[int, list[int]]] = {}
        for place, (group, index) in enumerate(zip(self.groups, self.classes, strict=True)):
            found.setdefault(group, {}).setdefault(index, []).append(place)
        return found


@dataclass(frozen=True)
class Composed:
    """A batch in which some images were replaced or changed."""

    images: Float[Tensor, "batch 3 height width"]
    labels: Float[Tensor, "batch classes"]
    masks: Int64[Tensor, "batch height width"]
    composed: Bool[Tensor, " batch"]
    """Which images were."""


class Mosaics:
    """Replaces some images of each batch.

    Args:
        bank: patches of at least two classes.
        settings: how many.
        augment: how much the stain of patches of several slides varies.
        seed: seed of the mosaics.
    """

    def __init__(self, bank: MosaicBank, settings: MosaicSettings, augment: AugmentSettings, seed: int) -> None:
        self.bank = bank
        self.settings = settings
        self.augment = augment
        self.seed = seed
        self.shelves = bank.shelves()
        self.everything: dict[int, list[int]] = {}
        for place, index in enumerate(bank.classes):
            self.everything.setdefault(index, []).append(place)

    def __call__(
        self,
        images: Float[Tensor, "batch 3 height width"],
        labels: Float[Tensor, "batch classes"],
        masks: Int64[Tensor, "batch height width"],
        indices: Int64[Tensor, " batch"],
        epoch: int,
    ) -> Composed:
        """Return the batch with mosaics; which and of what depends on seed, epoch and index alone.

        Args:
            images: RGB in [0, 1].
            labels: 1 where a class is present.
            masks: class index per pixel, background and 255 as in pseudo masks.
            indices: index of each patch in its data set.
            epoch: epoch from 0.
        """
        draws = uniform_draws(derive_seed(self.seed, epoch), indices, DRAWS)
        images, labels, masks = images.clone(), labels.clone(), masks.clone()
        composed = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        for place, own in enumerate(draws):
            whole = bool(own[0] < self.settings.share)
            if not whole and own[0] >= self.settings.share + self.settings.pasted:
                continue
            ground = None if whole else (images[place], masks[place])
            images[place], masks[place] = self._compose(own, images[place], ground, labels.shape[1])
            held = torch.bincount(masks[place].flatten(), minlength=256)[: labels.shape[1]] > 0
            labels[place] = held if whole else torch.maximum(labels[place], held.to(labels))
            composed[place] = True
        return Composed(images, labels, masks, composed)

    def _compose(
        self, own: Float[Tensor, " draws"], like: Tensor, ground: tuple[Tensor, Tensor] | None, background: int
    ) -> tuple[Float[Tensor, "3 height width"], Int64[Tensor, "height width"]]:
        """Return one image and its mask, from single-label patches and, where given, an image below them."""
        size, device = tuple(like.shape[-2:]), like.device
        count = SOURCES if ground is None else 1
        chosen = self._chosen(own[1:FIELDS], count)
        pictures = self.bank.images[chosen].to(device).float() / 255
        own_classes = torch.tensor([self.bank.classes[place] for place in chosen], device=device)[:, None, None]
        fills = torch.where(white_background(pictures), background, own_classes)
        if ground is not None or len({self.bank.groups[place] for place in chosen}) > 1:
            pictures = vary_stain_at_random(pictures, own[STAINS:].view(SOURCES, STAIN_DRAWS)[:count], self.augment)
        if ground is not None:
            pictures = torch.cat([pictures, ground[0][None]])
            fills = torch.cat([fills, ground[1][None]])
        grids = own[FIELDS:STAINS].view(SOURCES, 1, CELLS + 1, CELLS + 1)[: len(pictures)]
        fields = interpolate(grids, size=size, mode="bicubic", align_corners=True)[:, 0].to(device)
        shares = (fields * SHARPNESS * max(size) / CELLS).softmax(0)
        image = torch.einsum("shw,schw->chw", shares, pictures)
        mask = fills.gather(0, shares.argmax(0, keepdim=True))[0]
        return image, mask

    def _chosen(self, own: Float[Tensor, " draws"], count: int) -> list[int]:
        """Return patches: the first of any class, the second of another class of its slide, the third of any there.

        Every class comes first equally often, however rare it is. A slide that shows one class alone takes the others
        from all slides.
        """
        first = _pick(sorted(self.everything), own[0])
        slide = self.shelves[_pick([name for name in sorted(self.shelves) if first in self.shelves[name]], own[1])]
        others = slide if len(slide) > 1 else self.everything
        second = _pick([index for index in sorted(others) if index != first] or [first], own[2])
        third = _pick(sorted(others), own[3])
        picked = [slide[first], others.get(second, slide[first]), others[third]]
        return [_pick(patches, draw) for patches, draw in zip(picked[:count], own[4 : 4 + count], strict=True)]


def _pick(options: Sequence[Choice], draw: Tensor) -> Choice:
    """Return one of the options by a number in [0, 1)."""
    return options[int(draw * len(options))]
