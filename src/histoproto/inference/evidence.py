"""Class evidence for each pixel of an image of any size."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate, pad

from histoproto.cams.gate import local_scores
from histoproto.contracts import Region, SlideReader, TissueModel
from histoproto.inference.settings import InferenceSettings
from histoproto.inference.views import averaged_class_maps
from histoproto.progress import Advance
from histoproto.slides.stream import map_tiles
from histoproto.slides.tiling import tile_grid


class Evidence(NamedTuple):
    """What a model sees in an image, before any decision."""

    maps: Float[Tensor, "classes height width"]
    """Class maps, one value per pixel of the image."""
    scores: Float[Tensor, "classes height width"]
    """Scores pooled over the window of a training patch around each pixel."""


class ArrayReader(SlideReader):
    """An image that is in memory already."""

    def __init__(self, rgb: NDArray[np.uint8]) -> None:
        self.path, self.mpp = Path("memory"), None
        self.height_px, self.width_px = rgb.shape[:2]
        self.rgb = rgb

    def read(self, region: Region) -> NDArray[np.uint8]:
        """Return RGB of a region; see the base class."""
        return self.rgb[region.y_px : region.y_px + region.height_px, region.x_px : region.x_px + region.width_px]

    def close(self) -> None:
        """Nothing is held open."""


def evidence_of(model: TissueModel, rgb: NDArray[np.uint8], window_px: int, settings: InferenceSettings) -> Evidence:
    """Return the evidence of an image that fits into one tile, in one piece, or of a larger one, by tiles.

    Args:
        model: trained, in evaluation mode.
        rgb: image ``(height, width, 3)``, 0..255.
        window_px: side of the training patches.
        settings: views to average, size of tiles.
    """
    if max(rgb.shape[:2]) > tiling_of(window_px, settings).tile_px:
        return evidence_by_tiles(model, ArrayReader(rgb), window_px, settings, lambda _count: None)
    image = torch.from_numpy(rgb.transpose(2, 0, 1).copy())[None].float() / 255
    return _with_scores(both_maps(model, image, settings)[0], window_px)


def evidence_by_tiles(
    model: TissueModel, reader: SlideReader, window_px: int, settings: InferenceSettings, on_tiles: Advance
) -> Evidence:
    """Return the evidence of an image that is read tile by tile; the maps of the whole are kept in memory.

    Args:
        model: trained, in evaluation mode.
        reader: the image at the resolution of the training patches.
        window_px: side of the training patches.
        settings: views to average, size of tiles.
        on_tiles: called with the number of tiles just finished, of ``tile_count``.

    Raises:
        DataError: if a piece of the image cannot be read.
    """
    tiling = tiling_of(window_px, settings)
    bands = map_tiles(
        reader,
        lambda images: both_maps(model, torch.from_numpy(images), settings).numpy(),
        tile_px=tiling.tile_px,
        overlap_px=tiling.overlap_px,
        align_px=tiling.align_px,
        batch=tiling.batch,
        on_progress=on_tiles,
        fade=tiling.fade,
    )
    maps = torch.from_numpy(np.concatenate([band.maps for band in bands], axis=1))
    return _with_scores(maps, window_px)


class Tiling(NamedTuple):
    """How an image is cut."""

    tile_px: int
    overlap_px: int
    align_px: int
    batch: int
    fade: bool


def tiling_of(window_px: int, settings: InferenceSettings) -> Tiling:
    """Return how images are cut that do not fit into one tile.

    Args:
        window_px: side of the training patches.
        settings: ``context`` decides.
    """
    if settings.context == "patch":
        at_once = max(1, settings.tile_px**2 // (2 * window_px) ** 2)  # a quarter of the pixels of one large tile
        overlap_px = min(int(window_px * settings.window_overlap), window_px - 1)
        return Tiling(window_px, overlap_px, 1, at_once, fade=False)
    return Tiling(settings.tile_px, settings.overlap_px, COARSEST_STRIDE_PX, settings.batch, fade=True)


def tile_count(reader: SlideReader, window_px: int, settings: InferenceSettings) -> int:
    """Return how many tiles ``evidence_by_tiles`` computes."""
    tiling = tiling_of(window_px, settings)
    return len(tile_grid(reader.height_px, reader.width_px, tiling.tile_px, tiling.overlap_px, tiling.align_px))


def _with_scores(both: Float[Tensor, "twice_classes height width"], window_px: int) -> Evidence:
    maps, score_maps = both.chunk(2)
    return Evidence(maps, local_scores(score_maps[None], window_px)[0])


def both_maps(
    model: TissueModel, images: Float[Tensor, "batch 3 height width"], settings: InferenceSettings
) -> Float[Tensor, "batch twice_classes height width"]:
    """Return what ``tile_maps`` returns, score maps behind class maps."""
    return torch.cat(tile_maps(model, images, settings), dim=1)


class TileMaps(NamedTuple):
    """Maps at an image's own resolution, on the CPU."""

    maps: Float[Tensor, "batch classes height width"]
    score_maps: Float[Tensor, "batch classes height width"]


@torch.inference_mode()
def tile_maps(
    model: TissueModel, images: Float[Tensor, "batch 3 height width"], settings: InferenceSettings
) -> TileMaps:
    """Return class maps and score maps of images, as views of the padded images' maps."""
    device = next(model.parameters()).device
    padded = whole_cells(images.to(device))
    with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
        output = averaged_class_maps(model, padded, settings.views)
    maps = _at_pixels(output.maps, padded, images)
    return TileMaps(maps, maps if output.score_maps is output.maps else _at_pixels(output.score_maps, padded, images))


def _at_pixels(maps: Tensor, padded: Tensor, images: Tensor) -> Float[Tensor, "batch classes height width"]:
    """Return maps of padded images at the resolution of the images, without the padding."""
    size = padded.shape[-2:]
    fine = maps if maps.shape[-2:] == size else interpolate(maps, size=size, mode="bilinear", align_corners=False)
    return fine[..., : images.shape[-2], : images.shape[-1]].cpu()


COARSEST_STRIDE_PX = 32
"""Images are padded to whole cells of the coarsest level that any backbone has."""


def whole_cells(images: Float[Tensor, "batch channels height width"]) -> Tensor:
    """Reflect images at their right and lower border up to whole cells of all levels; tiny ones repeat their edge."""
    height, width = images.shape[-2:]
    below, right = -height % COARSEST_STRIDE_PX, -width % COARSEST_STRIDE_PX
    mode = "reflect" if below < height and right < width else "replicate"
    return pad(images, (0, right, 0, below), mode=mode)
