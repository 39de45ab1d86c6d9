r"""Dense conditional random field: labels follow the edges of the photograph.

Krähenbühl and Koltun, *Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials*, NeurIPS 2011.
With class probabilities :math:`p_i`, positions :math:`x_i` and colours :math:`c_i`, mean field repeats

.. math::
    Q_i \propto \exp\Bigl(\log p_i + w_s \sum_j \hat k_s(i, j)\, Q_j + w_b \sum_j \hat k_b(i, j)\, Q_j\Bigr), \qquad
    k_s = e^{-|x_i - x_j|^2 / 2\sigma_s^2}, \quad
    k_b = e^{-|x_i - x_j|^2 / 2\sigma_x^2 - |c_i - c_j|^2 / 2\sigma_c^2}

(Potts compatibility) with :math:`\hat k = D^{-1/2} k D^{-1/2}`, :math:`D` the sums of rows. Sums over all pixels are
approximated on a permutohedral lattice, as the authors do.

*Differences* from pydensecrf, which the released codes call: none; posteriors agree with it to about 1e-4
(``tests/golden/dense_crf``), except at single pixels whose colour lies on the border of two of the lattice's simplices,
where rounding decides. Nothing has to be compiled.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from histoproto.cams.permutohedral import Lattice
from histoproto.threads import side_by_side

LEAST_PROBABILITY = 1e-5
"""Probabilities below it are raised to it, as pydensecrf does."""
KEPT_PX = 2**20
"""The lattice of places is kept for the next photograph of the same size, if it has no more pixels than this: 60 MB."""


@dataclass(frozen=True)
class DenseCRFSettings:
    """Strengths and widths; the default is what the released codes of LPD and ConStruct use."""

    smooth_weight: float = 30.0
    """``w_s``: how much neighbours should agree."""
    smooth_px: float = 15.0
    """``sigma_s``: who is a neighbour, in pixels."""
    edge_weight: float = 50.0
    """``w_b``: how much neighbours of the same colour should agree."""
    edge_px: float = 10.0
    """``sigma_x`` in pixels."""
    edge_colour: float = 20.0
    """``sigma_c``: which colours are the same, in grey values of 0..255."""
    iterations: int = 5
    """Rounds of mean field."""


class DenseCRF:
    """The field over one photograph, for any class probabilities on it.

    Args:
        image: RGB in [0, 1].
        settings: strengths and widths.
    """

    def __init__(self, image: Float[Tensor, "3 height width"], settings: DenseCRFSettings) -> None:
        height, width = image.shape[-2:]
        smooth = _kept_smoothing if height * width <= KEPT_PX else _smoothing
        self._settings = settings
        self._smooth = smooth(height, width, settings.smooth_px, image.device, image.dtype)
        places = _places(height, width, image.device, image.dtype)
        colours = 255 * image.flatten(1)
        edges = torch.cat([places / settings.edge_px, colours / settings.edge_colour])
        self._edges = Lattice(edges.T).normalised()

    def __call__(self, probabilities: Float[Tensor, "classes height width"]) -> Float[Tensor, "classes height width"]:
        """Return the probabilities after mean field; they sum to 1 at each pixel before and after."""
        settings = self._settings
        evidence = probabilities.flatten(1).clamp(LEAST_PROBABILITY, 1).log()
        beliefs = evidence.softmax(0)
        for _ in range(settings.iterations):
            pixels = _pixels(beliefs)
            smooth = settings.smooth_weight * self._smooth.filter(pixels)
            messages = smooth + settings.edge_weight * self._edges.filter(pixels)
            beliefs = (evidence + torch.stack(messages.unbind(1))).softmax(0)
        return beliefs.view_as(probabilities)


def dense_crf(
    images: Float[Tensor, "batch 3 height width"],
    probabilities: Float[Tensor, "batch classes height width"],
    settings: DenseCRFSettings,
) -> Float[Tensor, "batch classes height width"]:
    """Return the probabilities after mean field on each photograph, as :class:`DenseCRF` does for one.

    On a CPU each of torch's threads works on photographs of its own, which is faster than all threads on one.

    Args:
        images: RGB in [0, 1].
        probabilities: they sum to 1 at each pixel.
        settings: strengths and widths.
    """

    def refined(pair: tuple[Tensor, Tensor]) -> Tensor:
        image, given = pair
        return DenseCRF(image, settings)(given)

    pairs = zip(images, probabilities, strict=True)
    return torch.stack(list(side_by_side(refined, pairs, images.device, first_alone=True)))


def _smoothing(height: int, width: int, smooth_px: float, device: torch.device, dtype: torch.dtype) -> Lattice:
    """Return the filter ``D^-1/2 k_s D^-1/2`` of all photographs of a size, also for use with gradients."""
    with torch.inference_mode(False):
        return Lattice(_places(height, width, device, dtype).T / smooth_px).normalised()


_kept_smoothing = lru_cache(maxsize=1)(_smoothing)


def _places(height: int, width: int, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "2 points"]:
    """Return column and row of each pixel."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([columns, rows]).flatten(1).to(device, dtype)


def _pixels(planes: Float[Tensor, "classes points"]) -> Float[Tensor, "points classes"]:
    """Return the transpose in memory of its own; torch copies fast into *channels last*."""
    return planes[None, :, None].contiguous(memory_format=torch.channels_last)[0, :, 0].T
