"""The true mask of an image."""

import numpy as np
from numpy.typing import NDArray

from histoproto.data.manifest import PatchRecord
from histoproto.errors import DataError
from histoproto.masks import read_mask
from histoproto.taxonomy import Taxonomy


def true_mask(record: PatchRecord, size: tuple[int, int] | None, taxonomy: Taxonomy) -> NDArray[np.uint8]:
    """Return an image's true mask.

    Args:
        record: the image.
        size: its height and width; None where the image itself is not opened.
        taxonomy: classes of the mask.

    Raises:
        DataError: if there is none, or it has another size than the image.
    """
    if record.mask is None:
        raise DataError(f"{record.path}: no mask to compare with")
    mask = read_mask(record.mask, taxonomy)
    if size is not None and mask.shape != size:
        raise DataError(
            f"{record.mask}: mask of {mask.shape[1]} x {mask.shape[0]} px for an image of {size[1]} x {size[0]} px; "
            "see all such files with: histoproto data check"
        )
    return mask
