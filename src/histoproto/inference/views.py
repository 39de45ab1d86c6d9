"""Class maps averaged over views of the same image."""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from histoproto.contracts import ClassMaps, Method
from histoproto.inference.settings import Views

RELEASED_MEAN = torch.tensor([0.70623304, 0.47791372, 0.66791496])
"""Mean of BCSS-WSSS, RGB: the released code scales images about it when it averages views."""

View = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]
"""How to change an image, and how to change a map back."""


def averaged_class_maps(method: Method, images: Float[Tensor, "batch 3 height width"], views: Views) -> ClassMaps:
    """Return the mean of a method's maps and scores over the views, each turned back first."""
    outputs = [(method.class_maps(change(images)), back) for change, back in _views(views)]
    maps = torch.stack([back(output.maps.float()) for output, back in outputs]).mean(0)
    return ClassMaps(maps, torch.stack([output.scores.float() for output, _ in outputs]).mean(0))


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
