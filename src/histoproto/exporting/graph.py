"""Everything from an image to its evidence as one module that can be traced for any batch, height and width.

It computes what `histoproto.inference.evidence.evidence_of` computes of an image in one piece. Two things are written
differently, since a traced graph knows no numbers and no branches on them: images are padded by gathering rows and
columns, and scores are pooled by a product with a matrix of windows.
"""

from typing import cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import interpolate

from histoproto.contracts import TissueModel
from histoproto.inference.evidence import COARSEST_STRIDE_PX
from histoproto.inference.settings import Views
from histoproto.inference.views import averaged_class_maps

INPUT = "images"
OUTPUTS = ("class_maps", "local_scores", "scores")
LARGEST_PX = 2**16
"""Tracing wants an upper end of sides, and of batches."""


class EvidenceGraph(nn.Module):
    """A model with its padding, its views and the pooling of its gate.

    Args:
        model: trained, in evaluation mode.
        views: to average.
        window_px: side of the windows that scores are pooled over.
    """

    def __init__(self, model: TissueModel, views: Views, window_px: int) -> None:
        super().__init__()
        self.model = model
        self.views: Views = views
        self.window_px = window_px

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> tuple[
        Float[Tensor, "batch classes height width"],
        Float[Tensor, "batch classes height width"],
        Float[Tensor, "batch classes"],
    ]:
        """Return class maps, scores pooled around each pixel, and scores of the whole image; see ``Evidence``.

        Args:
            images: RGB in [0, 1].
        """
        height, width = images.shape[-2:]
        rows, columns = _whole_cells(height), _whole_cells(width)
        places = _reflected(height, rows, width, columns)
        padded = images.index_select(-2, places[0]).index_select(-1, places[1])
        output = averaged_class_maps(self.model, padded, self.views)
        maps, score_maps = (
            interpolate(found, size=(rows, columns), mode="bilinear", align_corners=False)
            .index_select(-2, torch.arange(height))
            .index_select(-1, torch.arange(width))
            for found in (output.maps, output.score_maps)
        )
        down, across = _windows(height, self.window_px), _windows(width, self.window_px)
        local = torch.einsum("yh,bchw,xw->bcyx", down, score_maps, across)
        return maps, local, score_maps.mean((-2, -1))


def _whole_cells(size: int) -> int:
    """Return the next multiple of a cell, as a number of its own: its relation to ``size`` would split the trace."""
    wanted = torch.scalar_tensor((size + COARSEST_STRIDE_PX - 1) // COARSEST_STRIDE_PX, dtype=torch.int64)
    cells = cast(int, wanted.item())
    torch._check(cells >= 1)
    torch._check(cells <= LARGEST_PX)
    return COARSEST_STRIDE_PX * cells


def _reflected(
    height: int, rows: int, width: int, columns: int
) -> tuple[Int64[Tensor, " _rows"], Int64[Tensor, " _columns"]]:
    """Return which row and column of the image each one of the padded image repeats.

    The border is a mirror; where the image is smaller than what it lacks, its edge is repeated instead.
    """
    small = (torch.scalar_tensor(rows - height) >= height) | (torch.scalar_tensor(columns - width) >= width)
    down, across = (
        torch.where(small, index.clamp(max=size - 1), torch.minimum(index, 2 * (size - 1) - index).clamp(min=0))
        for size, index in ((height, torch.arange(rows)), (width, torch.arange(columns)))
    )
    return down, across


def _windows(size: int, window_px: int) -> Float[Tensor, "_size _size"]:
    """Return the weights of each pixel's window, shifted inwards at the border, as in ``cams.gate.local_scores``."""
    length = torch.scalar_tensor(size, dtype=torch.int64).clamp(max=window_px)
    places = torch.arange(size)
    first = torch.minimum((places - (length - 1) // 2).clamp(min=0), size - length)[:, None]
    return ((places >= first) & (places < first + length)).float() / length
