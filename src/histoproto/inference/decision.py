"""From evidence to a mask: gate, background, confidence."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from histoproto.cams.background import unlikely_background, white_background
from histoproto.cams.gate import allowed_classes
from histoproto.cams.pseudo_mask import UNDECIDED, pseudo_mask
from histoproto.inference.evidence import Evidence
from histoproto.inference.gate import Gate
from histoproto.inference.refine import Refiner
from histoproto.inference.settings import Background


class Decision(NamedTuple):
    """A mask and how sure it is."""

    mask: UInt8[Tensor, "height width"]
    """Class indices, ``classes`` where background, 255 where undecided."""
    confidence: Float[Tensor, "height width"]
    """Soft-max share of the strongest allowed class, 0..1, also where background covers it; 0 where undecided."""
    shares: Float[Tensor, "classes height width"]
    """Soft-max shares of the allowed classes, 0..1."""

    def covered(self, background: Bool[Tensor, "height width"]) -> "Decision":
        """Return the decision with background laid over its mask."""
        return _with_confidence(self.mask.masked_fill(background, len(self.shares)), self.shares)


def predicted_classes(evidence: Evidence, gate: Gate) -> Bool[Tensor, "classes height width"]:
    """Return which classes the model lets in, pixel by pixel."""
    return allowed_classes(evidence.scores[None], torch.tensor(gate.thresholds))[0]


def decide(
    maps: Float[Tensor, "classes height width"],
    present: Bool[Tensor, " classes"] | Bool[Tensor, "classes height width"],
    background: Bool[Tensor, "height width"] | None = None,
    refine: Refiner | None = None,
) -> Decision:
    """Return the mask among the present classes.

    Args:
        maps: class maps.
        present: the known labels for a training patch; what the gate lets in for anything else.
        background: pixels that are background; None decides tissue classes alone.
        refine: changes the shares of the classes before the strongest wins.
    """
    allowed = present if present.ndim == 3 else present[:, None, None].expand_as(maps)
    shares = maps.masked_fill(~allowed, torch.finfo(maps.dtype).min).softmax(0)
    if refine is not None:
        refined = refine(shares) * allowed  # neighbours must not bring in a class that is shut out here
        maps = shares = refined / refined.sum(0).clamp(min=torch.finfo(maps.dtype).tiny)
    decision = _with_confidence(pseudo_mask(maps[None], present[None])[0], shares)
    return decision if background is None else decision.covered(background)


def _with_confidence(mask: Tensor, shares: Tensor) -> Decision:
    return Decision(mask, shares.amax(0).masked_fill(mask == UNDECIDED, 0.0), shares)


def background_of(
    rgb: NDArray[np.uint8], maps: Float[Tensor, "classes height width"], rule: Background
) -> Bool[Tensor, "height width"]:
    """Return background pixels by the stated rule.

    Args:
        rgb: image ``(height, width, 3)``, 0..255.
        maps: class maps; the released rule ``unlikely`` needs them in [0, 1].
        rule: which rule.
    """
    if rule == "white":
        image = torch.from_numpy(rgb.transpose(2, 0, 1).copy())[None].float() / 255
        return white_background(image)[0]
    return unlikely_tissue(maps)


def unlikely_tissue(maps: Float[Tensor, "classes height width"]) -> Bool[Tensor, "height width"]:
    """Return where the released background score is above every class; maps in [0, 1]."""
    return unlikely_background(maps[None])[0] > maps.amax(0)
