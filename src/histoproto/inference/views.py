"""Class maps averaged over views of the same image."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from histoproto.cams.fusion import weighted_mean
from histoproto.contracts import ClassMaps, TissueModel
from histoproto.inference.settings import Views

RELEASED_MEAN = torch.tensor([0.70623304, 0.47791372, 0.66791496])
"""Mean of BCSS-WSSS, RGB: the released code scales images about it when it averages views."""


class View(NamedTuple):
    """One way of looking at an image."""

    change: Callable[[Tensor], Tensor]
    """Of the image."""
    back: Callable[[Tensor], Tensor]
    """Of a map of the changed image."""
    lies: bool = False
    """Whether height and width have changed places."""


def averaged_class_maps(model: TissueModel, images: Float[Tensor, "batch 3 height width"], views: Views) -> ClassMaps:
    """Return the mean of a model's maps over the views, each turned back first.

    Views of one shape go through the network together, in the memory layout that convolutions like best: upright ones,
    then those that lie on their side. Shapes are not compared, so that a graph made of this function serves images of
    any shape.
    """
    every = list(_views(views))
    maps: list[Tensor] = []
    score_maps: list[Tensor] = []
    for lies in (False, True):
        group = [view for view in every if view.lies == lies]
        if not group:
            continue
        changed = torch.cat([view.change(images) for view in group])
        output = model.class_maps(changed.contiguous(memory_format=torch.channels_last))
        maps += _turned_back(output.maps, group)
        if output.score_maps is not output.maps:
            score_maps += _turned_back(output.score_maps, group)
    equal = [1.0] * len(every)
    mean = weighted_mean(maps, equal)
    return ClassMaps(mean, weighted_mean(score_maps, equal) if score_maps else mean)


def _turned_back(maps: Tensor, group: list[View]) -> list[Tensor]:
    """Return the maps of each view, which lie one behind the other, in the image's own orientation."""
    by_view = maps.float().reshape(len(group), -1, *maps.shape[1:]).unbind(0)
    return [view.back(own) for view, own in zip(group, by_view, strict=True)]


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

    return View(change, back, lies=turns % 2 == 1)


def _contrasted(contrast: float, mirrored: bool) -> View:
    def change(images: Tensor) -> Tensor:
        mean = RELEASED_MEAN.to(images)[:, None, None]
        changed = mean + contrast * (images - mean)
        return changed.flip(-1) if mirrored else changed

    return View(change, _turned(0, mirrored).back)
