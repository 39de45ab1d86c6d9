"""The gate of a trained run: thresholds from labelled patches that were kept out of training."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from histoproto.cams.gate import sensitive_thresholds
from histoproto.contracts import TissueModel
from histoproto.errors import RunError
from histoproto.inference.settings import InferenceSettings
from histoproto.inference.views import averaged_class_maps

SENSITIVITY = 0.95
"""Share of the kept-out patches of a class on which the gate must let the class in."""


AT_ONCE = 4
"""Patches that go through the network together, in all their views."""


@runtime_checkable
class LabelledImage(Protocol):
    """A patch with its image-level labels."""

    @property
    def image(self) -> UInt8[Tensor, "3 height width"]:
        """RGB, 0..255."""

    @property
    def labels(self) -> Float[Tensor, " classes"]:
        """1 where a class is present, else 0."""


@dataclass(frozen=True)
class Gate:
    """Which classes the model itself lets into a mask."""

    thresholds: tuple[float, ...]
    """Least pooled score (logit) per class."""
    window_px: int
    """Side of the windows that scores are pooled over: that of the training patches."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for ``run.json``, with the rule in words."""
        return {
            "rule": f"a class is allowed where its score, pooled over {self.window_px} px, reaches a threshold that "
            f"keeps {SENSITIVITY:.0%} of the labelled patches held out from training; the strongest class always is",
            "thresholds": list(self.thresholds),
            "window_px": self.window_px,
        }

    @classmethod
    def from_record(cls, record: dict[str, Any], where: str) -> "Gate":
        """Read the gate from a run's record.

        Raises:
            RunError: if training has not finished, so that there is none yet.
        """
        if "gate" not in record:
            verb = "segment" if "pseudo_masks" in record else "train"
            raise RunError(f"{where} has not finished training; go on with: histoproto {verb} --resume {where}")
        return cls(tuple(record["gate"]["thresholds"]), int(record["gate"]["window_px"]))


@torch.no_grad()
def fit_gate(model: TissueModel, patches: Iterable[LabelledImage], settings: InferenceSettings) -> Gate:
    """Choose thresholds on labelled patches; no mask is looked at.

    Args:
        model: trained, in evaluation mode.
        patches: labelled patches that were not trained on, all of one size.
        settings: views to average, as at prediction.
    """
    device = next(model.parameters()).device
    scores, labels, side = [], [], 0
    remaining = iter(patches)
    while group := list(islice(remaining, AT_ONCE)):
        images = torch.stack([patch.image for patch in group]).to(device).float() / 255
        scores.append(averaged_class_maps(model, images, settings.views).scores.cpu())
        labels += [patch.labels for patch in group]
        side = max(images.shape[-2:])
    thresholds = sensitive_thresholds(torch.cat(scores), torch.stack(labels), SENSITIVITY)
    return Gate(tuple(thresholds.tolist()), side)
