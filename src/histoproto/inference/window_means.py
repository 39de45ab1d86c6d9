"""Scores pooled over windows, in bands of rows: what ``local_scores`` gives, without the whole image in memory."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from histoproto.cams.gate import surroundings


class WindowMeans:
    """Gives the rows of ``local_scores`` as soon as all that their windows cover has come.

    Args:
        height_px: rows of the whole image.
        window_px: side of the windows.
    """

    def __init__(self, height_px: int, window_px: int) -> None:
        self._height_px, self._window_px = height_px, window_px
        self._rows_px = min(window_px, height_px)
        self._sums: Tensor | None = None
        """Sums of all rows above a row, for each row at which a window still begins or ends."""
        self._top_px = 0
        """Row of the image of the first of them."""
        self._done_px = 0

    def push(self, score_maps: Float[Tensor, "classes rows width"]) -> Float[Tensor, "classes ready width"]:
        """Return the next finished rows, none or several.

        Args:
            score_maps: the next rows of the image, from its first on.
        """
        across = torch.stack([surroundings(plane, self._window_px, dim=1) for plane in score_maps])
        below = across.cumsum(1, dtype=torch.float64)
        if self._sums is None:
            sums = pad(below, (0, 0, 1, 0))
        else:
            sums = torch.cat([self._sums, below.add_(self._sums[:, -1:])], dim=1)
        end = self._top_px + sums.shape[1] - 1
        above = (self._rows_px - 1) // 2
        last_start = self._height_px - self._rows_px
        ready = self._height_px if end == self._height_px else end - self._rows_px + above + 1
        if end < self._rows_px or ready <= self._done_px:
            self._sums = sums
            return across[:, :0]
        starts = (torch.arange(self._done_px, ready) - above).clamp(0, last_start) - self._top_px
        means = (sums[:, starts + self._rows_px] - sums[:, starts]).div_(self._rows_px).float()
        self._done_px = ready
        kept = min(max(0, ready - above), last_start)
        self._sums, self._top_px = sums[:, kept - self._top_px :].clone(), kept
        return means
