"""Class evidence for each pixel of an image of any size."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate, pad

from histoproto.cams.gate import local_scores
from histoproto.contracts import Method
from histoproto.inference.settings import InferenceSettings
from histoproto.inference.views import averaged_class_maps


class Evidence(NamedTuple):
    """What a method sees in an image, before any decision."""

    maps: Float[Tensor, "classes height width"]
    """Class maps, one value per pixel of the image."""
    scores: Float[Tensor, "classes height width"]
    """Scores pooled over the window of a training patch around each pixel."""


@torch.inference_mode()
def evidence_of(method: Method, rgb: NDArray[np.uint8], window_px: int, settings: InferenceSettings) -> Evidence:
    """Return the evidence of an image, computed in one piece.

    Args:
        method: trained, in evaluation mode.
        rgb: image ``(height, width, 3)``, 0..255.
        window_px: side of the training patches.
        settings: views to average.
    """
    device = next(method.parameters()).device
    image = torch.from_numpy(np.ascontiguousarray(rgb)).to(device).permute(2, 0, 1)[None].float() / 255
    maps, scores = _tile_evidence(method, image, window_px, settings)
    return Evidence(maps[0].cpu(), scores[0].cpu())


def tile_network(
    method: Method, window_px: int, settings: InferenceSettings
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return the function that ``slides.stream`` calls on batches of tiles.

    It takes images ``(batch, 3, tile, tile)`` in [0, 1] and returns maps and local scores stacked,
    ``(batch, 2 classes, tile, tile)``.
    """
    device = next(method.parameters()).device

    @torch.inference_mode()
    def network(images: NDArray[np.float32]) -> NDArray[np.float32]:
        both = _tile_evidence(method, torch.from_numpy(images).to(device), window_px, settings)
        stacked: NDArray[np.float32] = torch.cat(both, dim=1).cpu().numpy()
        return stacked

    return network


def _tile_evidence(
    method: Method, images: Float[Tensor, "batch 3 height width"], window_px: int, settings: InferenceSettings
) -> tuple[Tensor, Tensor]:
    height, width = images.shape[-2:]
    padded = _padded(images, COARSEST_STRIDE_PX)
    maps = averaged_class_maps(method, padded, settings.views).maps
    maps = interpolate(maps, size=padded.shape[-2:], mode="bilinear", align_corners=False)[..., :height, :width]
    return maps, local_scores(maps, window_px)


COARSEST_STRIDE_PX = 32
"""Images are padded to whole cells of the coarsest level that any backbone has."""


def _padded(images: Tensor, multiple: int) -> Tensor:
    """Reflect the image at its right and lower border up to the next multiple; tiny images repeat their edge."""
    height, width = images.shape[-2:]
    below, right = -height % multiple, -width % multiple
    mode = "reflect" if below < height and right < width else "replicate"
    return pad(images, (0, right, 0, below), mode=mode)
