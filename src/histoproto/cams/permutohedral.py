r"""Gaussian filtering of values at points in any space, in time linear in their number.

The permutohedral lattice of Adams, Baek and Davis, *Fast High-Dimensional Filtering Using the Permutohedral Lattice*,
Eurographics 2010. The :math:`d`-dimensional space is tiled with simplices; each point's value is

1. *splatted* onto the :math:`d + 1` corners of its simplex by barycentric weights,
2. *blurred* along each of the :math:`d + 1` lattice directions with weights 1/2, 1, 1/2,
3. *sliced* back by the same barycentric weights,

which approximates :math:`\sum_j \exp(-\tfrac12 |f_i - f_j|^2)\, v_j` up to a constant factor. All three are products
with sparse matrices that depend on the points alone.

The points lie on the plane :math:`\sum_i y_i = 0` of :math:`\mathbb R^{d+1}`, and the lattice is
:math:`\mathbb Z^{d+1}` projected onto it: integer vectors that differ by a multiple of :math:`(1, \dots, 1)` are the
same vertex. The simplex around :math:`y` follows from rounding down: with :math:`m = \lfloor y \rfloor` and the rests
:math:`u = y - m` sorted as :math:`u_{(1)} \ge \dots \ge u_{(d+1)}`, its corners and their weights are

.. math::
    c_k = m + e_{(1)} + \dots + e_{(k)}, \qquad w_0 = 1 - u_{(1)} + u_{(d+1)}, \quad w_k = u_{(k)} - u_{(k+1)},
    \qquad k = 0, \dots, d,

where :math:`e_{(j)}` is the unit vector of the :math:`j`-th largest rest; the neighbours of a vertex are
:math:`\pm e_i` away.

*Differences* from the paper, which rounds to the nearest vertex of remainder 0 and keeps vertices in a hash table: the
corners are the same, found from another one of them; equal vertices are found by sorting, as torch does on any device.
"""

import math
from copy import copy
from dataclasses import replace
from itertools import pairwise

import torch
from jaxtyping import Float, Int, Int32
from torch import Tensor

from histoproto.cams.sparse import SparseMatrix


class Lattice:
    """The lattice below one set of points, reusable for any values at them.

    Args:
        features: positions in units of the kernel's standard deviation. In 5 dimensions they may lie up to about 3,000
            apart, in fewer much farther.

    Raises:
        ValueError: if they lie farther apart.
    """

    def __init__(self, features: Float[Tensor, "points dim"]) -> None:
        points, dim = features.shape
        elevated = _elevated(features)
        cells = elevated.floor()
        key, steps = _keys(cells)
        order, weights = _sorted_rests(elevated - cells)
        corners = _corners(key, steps, order).flatten()

        sorted_keys, entry = corners.sort()
        vertices, vertex, counts = torch.unique_consecutive(sorted_keys, return_inverse=True, return_counts=True)
        point = torch.arange(points, dtype=torch.int32, device=key.device)[:, None].expand_as(weights).flatten()
        # row 0 of the grid, on which nothing is splatted, stands for all vertices that no point touches
        self._splat = SparseMatrix(
            columns=point.index_select(0, entry),
            starts=torch.nn.functional.pad(counts.cumsum(0), (2, 0)).int(),
            entries=weights.flatten().index_select(0, entry),
        )
        self._blurs = _blurs(vertices, steps, features.dtype)
        self._slice = SparseMatrix(
            columns=torch.empty_like(vertex, dtype=torch.int32).scatter_(0, entry, vertex.int() + 1),
            starts=torch.arange(0, len(entry) + 1, dim + 1, dtype=torch.int32, device=key.device),
            entries=weights.flatten(),
        )

    def filter(self, values: Float[Tensor, "points channels"]) -> Float[Tensor, "points channels"]:
        """Return the blurred values."""
        grid = self._splat @ values
        for blur in self._blurs:
            grid = blur @ grid
        return self._slice @ grid

    def normalised(self) -> "Lattice":
        """Return the lattice that filters by ``D^-1/2 k D^-1/2``, where ``D`` are the sums of the rows of ``k``."""
        weights = self._slice.entries.view(len(self._slice.starts) - 1, -1)
        scale = self.filter(torch.ones_like(weights[:, :1])).rsqrt()
        of_entries = scale.flatten().index_select(0, self._splat.columns)
        lattice = copy(self)
        lattice._splat = replace(self._splat, entries=self._splat.entries * of_entries)
        lattice._slice = replace(self._slice, entries=(weights * scale).flatten())
        return lattice


def _elevated(features: Float[Tensor, "points dim"]) -> Float[Tensor, "coordinates points"]:
    """Return positions on the plane of the lattice (coordinates sum to 0), scaled for a blur of unit width.

    The last axis comes first, as in the authors' code: in images many points lie on the border of two simplices, and
    rounding decides which they belong to.
    """
    dim = features.shape[1]
    elevated = features.new_empty(dim + 1, len(features))
    total = torch.zeros_like(elevated[0])
    for axis in range(dim, 0, -1):
        scaled = features[:, axis - 1] * math.sqrt(2 / 3 / (axis * (axis + 1)))
        elevated[axis] = total - axis * scaled
        total += scaled
    elevated[0] = total
    return elevated


def _keys(cells: Float[Tensor, "coordinates points"]) -> tuple[Int[Tensor, " points"], Int[Tensor, " coordinates"]]:
    """Return an integer for each vertex, and by how much it changes from a vertex to the next in each direction.

    A vertex is told from others by its first ``dim`` coordinates less the last one. They are the digits of the integer,
    with room for a corner and that corner's neighbours on both sides.
    """
    digits = cells[:-1] - cells[-1]
    low, high = digits.amin(1).long() - 2, digits.amax(1).long() + 2
    sizes = (high - low + 1).tolist()
    places = [math.prod(sizes[digit + 1 :]) for digit in range(len(sizes))]
    if places[0] * sizes[0] >= 2**63:
        raise ValueError("features lie too far apart for the lattice's keys")
    whole = torch.int32 if places[0] * sizes[0] < 2**31 else torch.int64  # the shorter sorts faster
    steps = torch.tensor([*places, -sum(places)], dtype=whole, device=cells.device)
    return ((digits - low[:, None]).to(whole) * steps[:-1, None]).sum(0, dtype=whole), steps


def _sorted_rests(
    rests: Float[Tensor, "coordinates points"],
) -> tuple[list[Int32[Tensor, " points"]], Float[Tensor, "points corners"]]:
    """Return which coordinate has the largest rest, the second largest ..., and the weights of the corners.

    Rest and coordinate are packed into one integer: minima and maxima of long rows are far faster than sorting many
    short ones. Of equal rests the first goes first.
    """
    last = len(rests) - 1
    bits = last.bit_length()
    unit = 2 ** (30 - bits)
    number = torch.arange(last, -1, -1, dtype=torch.int32, device=rests.device)
    packed = list(((rests * unit).int() << bits) + number[:, None])
    for end in range(last, 0, -1):
        for low in range(end):
            one, other = packed[low], packed[low + 1]
            packed[low], packed[low + 1] = torch.maximum(one, other), torch.minimum(one, other)
    descending = [(each >> bits).to(rests) / unit for each in packed]
    weights = rests.new_empty(rests.shape[1], last + 1)
    weights[:, 0] = 1 - descending[0] + descending[-1]
    for corner, (larger, smaller) in enumerate(pairwise(descending), 1):
        weights[:, corner] = larger - smaller
    return [last - (each & (1 << bits) - 1) for each in packed], weights


def _corners(
    key: Int[Tensor, " points"], steps: Int[Tensor, " coordinates"], order: list[Int32[Tensor, " points"]]
) -> Int[Tensor, "points corners"]:
    """Return the keys of the simplex's corners: the cell, and one step after another from it."""
    corners = [key]
    for coordinate in order[:-1]:
        corners.append(corners[-1] + steps.index_select(0, coordinate))
    return torch.stack(corners, 1)


def _blurs(
    vertices: Int[Tensor, " vertices"], steps: Int[Tensor, " directions"], dtype: torch.dtype
) -> list[SparseMatrix]:
    """Return the blurs along all directions, of row 0, which stands for all other vertices, and of the vertices."""
    rows = len(vertices) + 1
    itself = torch.arange(rows, dtype=torch.int32, device=vertices.device).expand(len(steps), rows)
    ahead = torch.nn.functional.pad(_number_of(vertices, vertices + steps[:, None]), (1, 0))
    behind = torch.zeros_like(ahead).scatter_(1, ahead.long(), itself)
    behind[:, 0] = 0
    starts = torch.arange(0, 3 * rows + 1, 3, dtype=torch.int32, device=vertices.device)
    entries = torch.tensor([0.5, 1, 0.5], dtype=dtype, device=vertices.device).repeat(rows)
    return [SparseMatrix(columns.flatten(), starts, entries) for columns in torch.stack([behind, itself, ahead], -1)]


def _number_of(keys: Int[Tensor, " keys"], wanted: Int[Tensor, "rows columns"]) -> Int32[Tensor, "rows columns"]:
    """Return which of the sorted keys they are, counted from 1; 0 if none.

    One sort of both lists together was faster than a binary search for each.
    """
    merged, place = torch.cat([keys, wanted.flatten()]).sort(stable=True)
    number = (place < len(keys)).cumsum(0, dtype=torch.int32)  # of the last key that is not above
    last = torch.nn.functional.pad(keys, (1, 0), value=-1).index_select(0, number)
    number *= merged == last
    return torch.empty_like(number).scatter_(0, place, number)[len(keys) :].view_as(wanted)
