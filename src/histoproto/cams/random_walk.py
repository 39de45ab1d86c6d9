r"""Random walk over a photograph: class shares spread between neighbours that look alike.

Ahn and Kwak, *Learning Pixel-level Semantic Affinity with Image-level Supervision*, CVPR 2018 (AffinityNet, Eqs. 5
and 6); Ahn, Cho and Kwak, *Weakly Supervised Learning of Instance Segmentation with Inter-pixel Relations*, CVPR 2019
(IRNet). With features :math:`f^l` of levels :math:`l = 1..L` and colours :math:`c`, both on one grid of cells,

.. math::
    W_{ij} = \Bigl[\tfrac1L \sum_l \cos(f_i^l, f_j^l)\Bigr]_+^{\beta} \, e^{-|c_i - c_j|^2 / 2 \sigma_c^2}
    \quad (|x_i - x_j| \le \gamma), \qquad
    T = D^{-1} W, \quad D_{ii} = \sum_j W_{ij}, \qquad
    Q \leftarrow T^{\,t} Q.

Rows of :math:`T` sum to 1, so that shares which sum to 1 at every place still do, and constant shares stay as they
are. Only pairs within the radius are kept, each once, since :math:`W` is symmetric: memory is linear in the image.

*Differences.* The papers train a network for the affinity :math:`a_{ij}` and take :math:`W = A^{\circ\beta}`; here it
is the cosine of features that are there already, so nothing is trained. The colour term is new: features are coarser
than the grid and cannot say on which side of an edge a pixel lies.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

VALUES_AT_ONCE = 2**18
"""Values of a level that are brought to the grid at once: whole channels, one at least, which bounds memory."""


@dataclass(frozen=True)
class RandomWalkSettings:
    """How far and how freely shares spread."""

    grid_px: int = 2
    """Pixels per side of a cell; the walk goes from cell to cell, and shares are interpolated back to pixels."""
    radius: int = 5
    """``gamma``: who is a neighbour, in cells."""
    levels: int = 3
    """``L``: how many of the finest levels of features are compared."""
    sharpness: float = 10.0
    """``beta``: the larger, the more alike neighbours must be."""
    edge_colour: float = 20.0
    """``sigma_c``: which colours are the same, in grey values of 0..255."""
    steps: int = 20
    """``t``: steps of the walk."""


class RandomWalk:
    """The walk over one photograph, for any class shares on it.

    Args:
        image: RGB in [0, 1].
        features: levels of features of this image, finest first, each of any size.
        settings: how far and how freely.
    """

    def __init__(
        self,
        image: Float[Tensor, "3 height width"],
        features: Sequence[Float[Tensor, "_channels _height _width"]],
        settings: RandomWalkSettings,
    ) -> None:
        self._settings = settings
        colours = self._to_grid(255 * image)
        size = (colours.shape[-2], colours.shape[-1])
        self._offsets = _half_disc(settings.radius, *size)
        cosines = _mean_cosines(features[: settings.levels], self._offsets, size)
        self._affinities = []
        self._sums = torch.ones(size)  # the affinity of each cell to itself
        for offset, cosine in zip(self._offsets, cosines, strict=True):
            here, there = _pair(colours, offset)
            alike = (-(here - there).square().sum(0) / (2 * settings.edge_colour**2)).exp()
            affinity = cosine.clamp(0, 1) ** settings.sharpness * alike
            for end in _pair(self._sums, offset):
                end += affinity
            self._affinities.append(affinity)

    def __call__(self, shares: Float[Tensor, "classes height width"]) -> Float[Tensor, "classes height width"]:
        """Return the shares after ``t`` steps; their sum at each pixel is what it was, where it was 1 everywhere."""
        height, width = shares.shape[-2:]
        walked = self._to_grid(shares)
        for _ in range(self._settings.steps):
            walked = self._step(walked)
        if self._settings.grid_px > 1:
            walked = interpolate(
                walked[None], scale_factor=self._settings.grid_px, mode="bilinear", align_corners=False
            )[0]
        return walked[:, :height, :width]

    def _step(self, shares: Float[Tensor, "classes rows columns"]) -> Float[Tensor, "classes rows columns"]:
        """Return ``T Q``."""
        gathered = shares.clone()
        for offset, affinity in zip(self._offsets, self._affinities, strict=True):
            here, there = _pair(shares, offset)
            to_here, to_there = _pair(gathered, offset)
            to_here.addcmul_(affinity, there)
            to_there.addcmul_(affinity, here)
        return gathered / self._sums

    def _to_grid(self, maps: Float[Tensor, "channels height width"]) -> Float[Tensor, "channels rows columns"]:
        """Return the mean of each cell; cells at the right and lower edge may be smaller."""
        return avg_pool2d(maps[None], self._settings.grid_px, ceil_mode=True)[0]


def _half_disc(radius: int, rows: int, columns: int) -> list[tuple[int, int]]:
    """Return the offsets (down, right) within the radius, one of each pair of opposite ones, that fit the grid."""
    return [
        (down, right)
        for down in range(min(radius, rows - 1) + 1)
        for right in range(-min(radius, columns - 1), min(radius, columns - 1) + 1)
        if (down, right) > (0, 0) and down**2 + right**2 <= radius**2
    ]


def _pair(maps: Tensor, offset: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return views of all cells that have a neighbour at the offset, and of these neighbours."""
    rows, columns = maps.shape[-2:]
    down, right = offset
    here = maps[..., : rows - down, max(0, -right) : columns - max(0, right)]
    there = maps[..., down:, max(0, right) : columns - max(0, -right)]
    return here, there


def _mean_cosines(
    levels: Sequence[Tensor], offsets: Sequence[tuple[int, int]], size: tuple[int, int]
) -> Iterator[Float[Tensor, "_rows _columns"]]:
    """Yield, offset by offset, the cosine of each cell's features and its neighbour's, averaged over levels.

    Args:
        levels: features ``(channels, _, _)`` of any size.
        offsets: which neighbours.
        size: rows and columns of the grid.
    """
    grid = torch.zeros(size)
    sums = [torch.zeros_like(_pair(grid, offset)[0]) for offset in offsets]
    for level in levels:
        norm = sum((chunk.square().sum(0) for chunk in _on_grid(level, size)), grid).sqrt().clamp(min=1e-12)
        for chunk in _on_grid(level, size):
            unit = chunk / norm
            for total, offset in zip(sums, offsets, strict=True):
                here, there = _pair(unit, offset)
                total += (here * there).sum(0)
    for total in sums:
        yield total / len(levels)


def _on_grid(level: Float[Tensor, "channels _h _w"], size: tuple[int, int]) -> Iterator[Tensor]:
    """Yield the level at the grid's resolution, some channels at a time."""
    for chunk in torch.split(level, max(1, VALUES_AT_ONCE // (size[0] * size[1]))):
        yield interpolate(chunk[None].float(), size=size, mode="bilinear", align_corners=False)[0]
