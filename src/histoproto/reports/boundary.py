"""Where a predicted border is not the true one: the two bands of boundary IoU, laid over the photograph."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from histoproto.errors import DataError
from histoproto.images import read_rgb
from histoproto.masks import read_indices
from histoproto.metrics.boundary import band_width_px, boundary_band, boundary_counts, boundary_iou
from histoproto.metrics.counts import BOUNDARY_RATIOS
from histoproto.reports.pictures import Picture, fit, or_problem
from histoproto.taxonomy import IGNORE, Colour, Taxonomy

RATIO = BOUNDARY_RATIOS[0]
"""Width of the bands as a share of the image diagonal."""
MISSED_COLOUR: Colour = (217, 95, 2)
FALSE_COLOUR: Colour = (38, 112, 233)
RENAMED_COLOUR: Colour = (122, 24, 128)
"""Apart in every kind of colour vision, and unlike H&E where that is muted."""
LEGEND = (
    ("True border missed", MISSED_COLOUR),
    ("Border where there is none", FALSE_COLOUR),
    ("Border found, wrong tissue on this side", RENAMED_COLOUR),
)
COVER = 0.82
"""How much of the photograph a colour hides."""
MUTED, PALE = 0.25, 0.45
"""How much of its colour and of its contrast the photograph keeps."""


class BoundaryErrors(NamedTuple):
    """Pixels of the two boundary bands that count against boundary IoU."""

    missed: NDArray[np.bool_]
    """In the band of a true tissue alone: its border is not predicted here."""
    false: NDArray[np.bool_]
    """In the band of a predicted tissue alone: no true border is here."""
    renamed: NDArray[np.bool_]
    """In both, of different tissues: a border is predicted here, with the wrong tissue on this side of it."""


def boundary_errors(truth: NDArray[np.uint8], prediction: NDArray[np.uint8], background: int) -> BoundaryErrors:
    """Return the pixels whose boundary bands disagree, as boundary IoU counts them with background counted.

    Args:
        truth: true mask; 255 does not count.
        prediction: predicted mask; white background and 255 name no tissue.
        background: value of white background.
    """
    values = torch.from_numpy(np.stack([truth, prediction]).astype(np.int16))
    values[1].masked_fill_(values[1] == IGNORE, background)
    values.masked_fill_((values[0] == IGNORE).clone(), IGNORE)
    width_px = band_width_px(truth.shape[0], truth.shape[1], RATIO)
    true, predicted = (boundary_band(values, width_px) & (values < background)).numpy()
    return BoundaryErrors(true & ~predicted, predicted & ~true, true & predicted & (truth != prediction))


def boundary_score(truth: Path, prediction: Path, taxonomy: Taxonomy) -> float | None:
    """Return the mean boundary IoU of one mask over the tissues that its truth holds; None where that is nothing.

    Args:
        truth: the true mask.
        prediction: the predicted mask.
        taxonomy: classes of both.
    """
    try:
        true, predicted = _masks(truth, prediction)
    except DataError:
        return None
    predicted[predicted == IGNORE] = taxonomy.background
    counts = boundary_counts(torch.from_numpy(predicted), torch.from_numpy(true), len(taxonomy), RATIO)
    present = [name for name in range(len(taxonomy)) if (true == name).any()]
    return float(boundary_iou(counts)[present].mean()) if present else None


def boundary_picture(image: Path, truth: Path, prediction: Path, taxonomy: Taxonomy, side_px: int) -> Picture:
    """Return the disagreeing bands in colour over the pale photograph.

    Args:
        image: the photograph.
        truth: the true mask.
        prediction: the predicted mask.
        taxonomy: classes of both.
        side_px: longest side of the picture.
    """

    def draw() -> Image.Image:
        true, predicted = _masks(truth, prediction)
        below = Image.fromarray(read_rgb(image)).resize((true.shape[1], true.shape[0]))
        muted = np.asarray(ImageEnhance.Color(below).enhance(MUTED)).astype(np.float64)
        shown = 255 - PALE * (255 - muted)
        errors = boundary_errors(true, predicted, taxonomy.background)
        for where, colour in zip(errors, (MISSED_COLOUR, FALSE_COLOUR, RENAMED_COLOUR), strict=True):
            shown[where] = (1 - COVER) * shown[where] + COVER * np.array(colour)
        return fit(Image.fromarray(shown.round().astype(np.uint8)), side_px)

    return or_problem(prediction, draw)


def _masks(truth: Path, prediction: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    true, predicted = read_indices(truth), read_indices(prediction)
    if true.shape != predicted.shape:
        raise DataError(f"{prediction}: has not the size of the true mask; evaluate the run again")
    return true, predicted
