"""Scores pooled over windows, in bands of rows: what ``local_scores`` gives, without the whole image in memory."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from histoproto.cams.gate import surroundings, window_means


class WindowMeans:
    """Gives the rows of ``local_scores`` as soon as all that their windows cover has come.

    Args:
        height_px: rows of the whole image.
        window_px: side of the windows.
    """

    def __init__(self, height_px: int, window_px: int) -> None:
        self._height_px, self._window_px = height_px, window_px
        self._rows_px = min(window_px, height_px)
        self._waiting: Tensor | None = None
        """Score maps that a window still covers."""
        self._top_px = 0
        """Row of the image of the first of them."""
        self._done_px = 0

    def push(self, score_maps: Float[Tensor, "classes rows width"]) -> Float[Tensor, "classes ready width"]:
        """Return the next finished rows, none or several.

        Args:
            score_maps: the next rows of the image, from its first on.
        """
        held = score_maps if self._waiting is None else torch.cat([self._waiting, score_maps], dim=1)
        end = self._top_px + held.shape[1]
        above = (self._rows_px - 1) // 2
        last_start = self._height_px - self._rows_px
        ready = self._height_px if end == self._height_px else end - self._rows_px + above + 1
        if end < self._rows_px or ready <= self._done_px:
            self._waiting = held
            return held[:, :0]
        starts = (torch.arange(self._done_px, ready) - above).clamp(0, last_start)
        first, last = int(starts[0]), int(starts[-1])
        span = held[:, first - self._top_px : last + self._rows_px - self._top_px]
        pooled = [self._pooled(plane, starts - first) for plane in span]
        self._done_px = ready
        kept = min(max(0, ready - above), last_start)
        self._waiting, self._top_px = held[:, kept - self._top_px :].clone(), kept
        return torch.stack(pooled)

    def _pooled(self, plane: Float[Tensor, "rows width"], starts: Int64[Tensor, " ready"]) -> Tensor:
        """Return means of windows that begin at some rows."""
        return surroundings(window_means(plane, self._rows_px, dim=0)[starts], self._window_px, dim=1)
