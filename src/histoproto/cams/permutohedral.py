r"""Gaussian filtering of values at points in any space, in time linear in their number.

The permutohedral lattice of Adams, Baek and Davis, *Fast High-Dimensional Filtering Using the Permutohedral Lattice*,
Eurographics 2010. The :math:`d`-dimensional space is tiled with simplices; each point's value is

1. *splatted* onto the :math:`d + 1` corners of its simplex by barycentric weights,
2. *blurred* along each of the :math:`d + 1` lattice directions with weights 1/2, 1, 1/2,
3. *sliced* back by the same barycentric weights,

which approximates :math:`\sum_j \exp(-\tfrac12 |f_i - f_j|^2)\, v_j` up to a constant factor.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

KEY_BITS = 63
"""The coordinates of a lattice point are packed into one integer of this many bits."""


class Lattice:
    """The lattice below one set of points, reusable for any values at them.

    Args:
        features: positions in units of the kernel's standard deviation. In 5 dimensions they may lie up to about 500
            apart, in fewer much farther.

    Raises:
        ValueError: if they lie farther apart.
    """

    def __init__(self, features: Float[Tensor, "points dim"]) -> None:
        dim = features.shape[1]
        elevated = _elevated(features)
        origin, rank = _nearest_zero_point(elevated)
        self._weights = _barycentric(elevated, origin, rank)
        corners = _corners(origin, rank)  # (points, dim + 1, dim)
        corners = corners - corners.amin((0, 1)) + dim  # room for neighbours
        if int(corners.max()) + dim >= 2 ** (KEY_BITS // dim):
            raise ValueError("features lie too far apart for the lattice's keys")
        keys, inverse = torch.unique(_packed(corners), return_inverse=True)
        self._corner = inverse
        self._vertices = len(keys)
        self._neighbours = _neighbours(keys, dim)
        self._gain = 1 / (1 + 2.0**-dim)

    def filter(self, values: Float[Tensor, "points channels"]) -> Float[Tensor, "points channels"]:
        """Return the blurred values."""
        channels = values.shape[1]
        # one more row that stays zero stands for all vertices that no point touches
        grid = values.new_zeros(self._vertices + 1, channels)
        splats = (self._weights[..., None] * values[:, None]).reshape(-1, channels)
        grid.index_add_(0, self._corner.flatten(), splats)
        for before, after in self._neighbours:
            blurred = grid[:-1] + 0.5 * (grid[before] + grid[after])
            grid = torch.cat([blurred, grid[-1:]])
        return self._gain * (self._weights[..., None] * grid[self._corner]).sum(1)


def _elevated(features: Float[Tensor, "points dim"]) -> Float[Tensor, "points corners"]:
    """Return positions on the hyperplane of the lattice (coordinates sum to 0), scaled for a blur of unit width."""
    dim = features.shape[1]
    axis = torch.arange(1, dim + 1, dtype=features.dtype, device=features.device)
    scaled = features * (2 / 3) ** 0.5 * (dim + 1) / (axis * (axis + 1)).sqrt()
    rest = scaled.flip(1).cumsum(1).flip(1)  # sum over this and all later axes
    later = torch.cat([rest[:, 1:], torch.zeros_like(rest[:, :1])], 1)
    return torch.cat([rest[:, :1], later - axis * scaled], 1)


def _nearest_zero_point(elevated: Float[Tensor, "points corners"]) -> tuple[Tensor, Tensor]:
    """Return the nearest lattice point of remainder 0, and the rank of each coordinate's distance to it."""
    corners = elevated.shape[1]
    cells = (elevated / corners).round()
    origin = cells * corners
    order = (elevated - origin).argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(dim=1) + cells.sum(1, keepdim=True).long()
    low, high = rank < 0, rank >= corners
    rank = rank + corners * (low.long() - high.long())
    return (origin + corners * (low.float() - high.float())).long(), rank


def _barycentric(elevated: Tensor, origin: Tensor, rank: Tensor) -> Float[Tensor, "points corners"]:
    """Return the weight of each corner of the simplex around each point; they sum to 1."""
    corners = elevated.shape[1]
    share = (elevated - origin) / corners
    weights = elevated.new_zeros(len(elevated), corners + 1)
    weights.scatter_add_(1, corners - 1 - rank, share)
    weights.scatter_add_(1, corners - rank, -share)
    weights[:, 0] += 1 + weights[:, corners]
    return weights[:, :corners]


def _corners(origin: Int64[Tensor, "points corners"], rank: Int64[Tensor, "points corners"]) -> Tensor:
    """Return the first ``dim`` coordinates of the simplex's corners, ``(points, corners, dim)``."""
    corners = origin.shape[1]
    remainder = torch.arange(corners, device=origin.device)[:, None]
    ranks = torch.arange(corners, device=origin.device)
    canonical = torch.where(ranks < corners - remainder, remainder, remainder - corners)  # (remainder, rank)
    moved = canonical[:, rank].movedim(0, 1)  # (points, remainder, coordinates)
    return (origin[:, None] + moved)[..., :-1]


def _packed(coordinates: Int64[Tensor, "*points dim"]) -> Int64[Tensor, "*points"]:
    """Return coordinates as one integer each; sums of coordinates are sums of these integers."""
    bits = KEY_BITS // coordinates.shape[-1]
    return (coordinates << bits * torch.arange(coordinates.shape[-1], device=coordinates.device)).sum(-1)


def _neighbours(keys: Int64[Tensor, " vertices"], dim: int) -> list[tuple[Tensor, Tensor]]:
    """Return, for each lattice direction, the vertex before and after each vertex; the number of vertices if none."""
    steps = torch.full((dim + 1, dim), -1, device=keys.device)
    steps.diagonal().fill_(dim)
    return [(_index_of(keys, keys + step), _index_of(keys, keys - step)) for step in _packed(steps)]


def _index_of(keys: Tensor, wanted: Tensor) -> Tensor:
    place = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    return torch.where(keys[place] == wanted, place, len(keys))
