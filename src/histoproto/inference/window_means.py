"""Scores pooled over windows, in bands of rows: what ``local_scores`` gives, without the whole image in memory."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

from histoproto.cams.gate import local_scores


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
        down = avg_pool2d(span[None], (self._rows_px, 1), stride=1)[:, :, starts - first]
        self._done_px = ready
        kept = min(max(0, ready - above), last_start)
        self._waiting, self._top_px = held[:, kept - self._top_px :].clone(), kept
        return _across(down[0], self._window_px)


def _across(means: Float[Tensor, "classes rows width"], window_px: int) -> Float[Tensor, "classes rows width"]:
    """Return means of each row over windows of its own."""
    return local_scores(means[:, :, None], window_px)[:, :, 0]
