"""Scores pooled over windows, in bands of rows: what ``local_scores`` gives, without the whole image in memory."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from histoproto.cams.gate import surroundings
from histoproto.inference.row_queue import RowQueue


class WindowMeans:
    """Gives the rows of ``local_scores`` as soon as all that their windows cover has come.

    Args:
        height_px: rows of the whole image.
        window_px: side of the windows.
    """

    def __init__(self, height_px: int, window_px: int) -> None:
        self._height_px, self._window_px = height_px, window_px
        self._rows_px = min(window_px, height_px)
        self._sums = RowQueue()
        """Row n holds the sum of the n rows above it."""
        self._below: Tensor | None = None
        """The last of them."""
        self._done_px = 0

    def push(self, score_maps: Float[Tensor, "classes rows width"]) -> Float[Tensor, "classes ready width"]:
        """Return the next finished rows, none or several.

        Args:
            score_maps: the next rows of the image, from its first on.
        """
        across = torch.stack([surroundings(plane, self._window_px, dim=1) for plane in score_maps])
        sums = across.cumsum(1, dtype=torch.float64)
        if self._below is None:
            self._sums.push(torch.zeros_like(sums[:, :1]))
        else:
            sums += self._below
        self._sums.push(sums)
        self._below = sums[:, -1:]
        end = self._sums.end - 1
        above = (self._rows_px - 1) // 2
        ready = self._height_px if end == self._height_px else end - self._rows_px + above + 1
        if end < self._rows_px or ready <= self._done_px:
            return across[:, :0]
        starts = (torch.arange(self._done_px, ready) - above).clamp(0, self._height_px - self._rows_px)
        means = (self._sums_at(starts + self._rows_px) - self._sums_at(starts)).div_(self._rows_px).float()
        self._done_px = ready
        self._sums.drop(min(max(0, ready - above), self._height_px - self._rows_px))
        return means

    def _sums_at(self, rows: Int[Tensor, " ready"]) -> Float[Tensor, "classes ready width"]:
        """Return sums at rows that do not decrease; those at the image's borders repeat."""
        first, last = int(rows[0]), int(rows[-1]) + 1
        found = self._sums.rows(first, last)
        return found if last - first == len(rows) else found[:, rows - first]
