"""Rows of a map that come in bands and are asked for in other portions."""

from collections import deque

import torch
from jaxtyping import Float
from torch import Tensor


class RowQueue:
    """Holds bands of rows until they are dropped; what is asked for is copied only where it crosses a band's end."""

    def __init__(self) -> None:
        self._bands: deque[Float[Tensor, "channels rows width"]] = deque()
        self._top = self._end = 0

    @property
    def end(self) -> int:
        """Number of rows that have come."""
        return self._end

    def push(self, band: Float[Tensor, "channels rows width"]) -> None:
        """Add the next rows."""
        self._bands.append(band)
        self._end += band.shape[1]

    def rows(self, first: int, last: int) -> Float[Tensor, "channels asked width"]:
        """Return rows ``first`` up to before ``last``, counted from the very first; none of them may be dropped."""
        found, top = [], self._top
        for band in self._bands:
            below = top + band.shape[1]
            if top < last and first < below:
                found.append(band[:, max(0, first - top) : last - top])
            top = below
        return found[0] if len(found) == 1 else torch.cat(found, dim=1)

    def drop(self, first: int) -> None:
        """Forget the bands of which no row from ``first`` on is left."""
        while self._bands and self._top + self._bands[0].shape[1] <= first:
            self._top += self._bands.popleft().shape[1]
