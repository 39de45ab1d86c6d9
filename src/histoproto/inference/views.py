"""Class maps averaged over views of the same image."""

from collections.abc import Callable, Iterator
from itertools import groupby

import torch
from jaxtyping import Float
from torch import Tensor

from histoproto.contracts import ClassMaps, TissueModel
from histoproto.inference.settings import Views

RELEASED_MEAN = torch.tensor([0.70623304, 0.47791372, 0.66791496])
"""Mean of BCSS-WSSS, RGB: the released code scales images about it when it averages views."""

View = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]
"""How to change an image, and how to change a map back."""


def averaged_class_maps(model: TissueModel, images: Float[Tensor, "batch 3 height width"], views: Views) -> ClassMaps:
    """Return the mean of a model's maps over the views, each turned back first.

    Views of one shape go through the network together.
    """
    changes = list(_views(views))
    changed = [change(images) for change, _ in changes]
    maps: list[Tensor] = []
    score_maps: list[Tensor] = []
    for group in _runs_of_one_shape(changed):
        output = model.class_maps(torch.cat(group))
        maps += torch.split(output.maps.float(), len(images))
        score_maps += torch.split(output.score_maps.float(), len(images))
    backs = [back for _, back in changes]
    averages = [
        torch.stack([back(view) for view, back in zip(views_of_maps, backs, strict=True)]).mean(0)
        for views_of_maps in (maps, score_maps)
    ]
    return ClassMaps(*averages)


def _runs_of_one_shape(views: list[Tensor]) -> Iterator[list[Tensor]]:
    """Yield neighbouring views of the same shape together: all of a square image, pairs of any other."""
    for _, group in groupby(views, key=lambda view: view.shape):
        yield list(group)


def _views(views: Views) -> Iterator[View]:
    if views == "d4":
        for turns in range(4):
            for mirrored in (False, True):
                yield _turned(turns, mirrored)
    elif views == "released":
        for contrast in (0.9, 1.0, 1.1):
            for mirrored in (False, True):
                yield _contrasted(contrast, mirrored)
    else:
        yield _turned(0, mirrored=False)


def _turned(turns: int, mirrored: bool) -> View:
    def change(images: Tensor) -> Tensor:
        turned = images.rot90(turns, (-2, -1))
        return turned.flip(-1) if mirrored else turned

    def back(maps: Tensor) -> Tensor:
        unflipped = maps.flip(-1) if mirrored else maps
        return unflipped.rot90(-turns, (-2, -1))

    return change, back


def _contrasted(contrast: float, mirrored: bool) -> View:
    def change(images: Tensor) -> Tensor:
        mean = RELEASED_MEAN.to(images)[:, None, None]
        changed = mean + contrast * (images - mean)
        return changed.flip(-1) if mirrored else changed

    return change, _turned(0, mirrored)[1]
