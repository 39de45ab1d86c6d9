r"""Dense conditional random field: labels follow the edges of the photograph.

Krähenbühl and Koltun, *Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials*, NeurIPS 2011.
With class probabilities :math:`p_i`, positions :math:`x_i` and colours :math:`c_i`, mean field repeats

.. math::
    Q_i \propto \exp\Bigl(\log p_i + w_s \sum_j \hat k_s(i, j)\, Q_j + w_b \sum_j \hat k_b(i, j)\, Q_j\Bigr), \qquad
    k_s = e^{-|x_i - x_j|^2 / 2\sigma_s^2}, \quad
    k_b = e^{-|x_i - x_j|^2 / 2\sigma_x^2 - |c_i - c_j|^2 / 2\sigma_c^2}

(Potts compatibility) with :math:`\hat k = D^{-1/2} k D^{-1/2}`, :math:`D` the sums of rows. Sums over all pixels are
approximated on a permutohedral lattice, as the authors do.

*Differences* from pydensecrf, which the released codes call: none; posteriors agree with it to 1e-4
(``tests/golden/dense_crf``), and nothing has to be compiled.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from histoproto.cams.permutohedral import Lattice

LEAST_PROBABILITY = 1e-5
"""Probabilities below it are raised to it, as pydensecrf does."""

Filter = Callable[[Float[Tensor, "points channels"]], Float[Tensor, "points channels"]]


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
        self._settings = settings
        _, height, width = image.shape
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        places = torch.stack([columns, rows], -1).reshape(-1, 2).to(image)
        colours = 255 * image.reshape(3, -1).T
        self._smooth = _normalised(places / settings.smooth_px)
        self._edges = _normalised(torch.cat([places / settings.edge_px, colours / settings.edge_colour], 1))

    def __call__(self, probabilities: Float[Tensor, "classes height width"]) -> Float[Tensor, "classes height width"]:
        """Return the probabilities after mean field; they sum to 1 at each pixel before and after."""
        settings, classes = self._settings, len(probabilities)
        evidence = probabilities.reshape(classes, -1).T.clamp(LEAST_PROBABILITY, 1).log()
        beliefs = evidence.softmax(1)
        for _ in range(settings.iterations):
            messages = settings.smooth_weight * self._smooth(beliefs) + settings.edge_weight * self._edges(beliefs)
            beliefs = (evidence + messages).softmax(1)
        return beliefs.T.reshape(probabilities.shape)


def _normalised(features: Float[Tensor, "points dim"]) -> Filter:
    """Return the filter by ``D^-1/2 k D^-1/2``."""
    plain = Lattice(features).filter
    scale = plain(features.new_ones(len(features), 1)).clamp(min=1e-20).rsqrt()
    return lambda values: scale * plain(scale * values)
