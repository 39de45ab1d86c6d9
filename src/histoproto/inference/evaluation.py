"""A trained method against true masks, under every gate and background rule.

Gates: ``predicted`` lets the model decide, place by place, which classes may appear; ``oracle`` allows the classes
of the true mask, which nobody has at prediction, so that row is an upper bound and never a result; ``none``
allows all. The method, the gate and the checkpoint have seen no mask unless the run says *val-tuned*.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, f1_score
from torch import Tensor

from histoproto.contracts import Method
from histoproto.data.manifest import PatchRecord
from histoproto.errors import DataError
from histoproto.images import read_rgb
from histoproto.inference.decision import Decision, background_of, decide, predicted_classes
from histoproto.inference.evidence import Evidence, evidence_of
from histoproto.inference.gate import Gate
from histoproto.inference.settings import InferenceSettings
from histoproto.masks import read_mask
from histoproto.metrics.summary import Accumulator, BackgroundRule, mean_iou
from histoproto.taxonomy import Taxonomy

GATES = ("predicted", "oracle", "none")
BACKGROUNDS: tuple[BackgroundRule, ...] = ("ignored", "counted")


@dataclass(frozen=True)
class ImageResult:
    """One image under the predicted gate."""

    record: PatchRecord
    decision: Decision
    """With background, as one would look at it."""
    miou: float | None
    """Mean IoU over the classes in this image's truth, background ignored; None without tissue."""


@dataclass
class Evaluation:
    """Counts over a split, gathered image by image."""

    taxonomy: Taxonomy
    accumulators: dict[str, dict[str, Accumulator]] = field(init=False)
    """By gate, then by background rule."""
    strongest: list[NDArray[np.float64]] = field(default_factory=list)
    """Highest pooled score of each class in each image."""
    truths: list[NDArray[np.bool_]] = field(default_factory=list)
    """Which classes each true mask has."""

    def __post_init__(self) -> None:
        """Start all counts at zero."""
        self.accumulators = {
            gate: {rule: Accumulator(self.taxonomy.classes, rule) for rule in BACKGROUNDS} for gate in GATES
        }

    def results(self) -> dict[str, dict[str, Any]]:
        """Return the figures by gate and background rule, ready for JSON."""
        return {
            gate: {rule: counts.summary() for rule, counts in rules.items()}
            for gate, rules in self.accumulators.items()
        }

    def classification(self, gate: Gate) -> dict[str, Any]:
        """Return how well image-level presence is predicted: average precision and F1 at the gate's thresholds."""
        scores, truths = np.stack(self.strongest), np.stack(self.truths)
        allowed = (scores >= np.asarray(gate.thresholds)) | (scores == scores.max(1, keepdims=True))
        return {
            "per_class": {
                name: {
                    "ap": float(average_precision_score(truths[:, index], scores[:, index])) if both else None,
                    "f1": float(f1_score(truths[:, index], allowed[:, index], zero_division=0.0)) if both else None,
                    "images": int(truths[:, index].sum()),
                }
                for index, name in enumerate(self.taxonomy.classes)
                for both in [0 < truths[:, index].sum() < len(truths)]
            }
        }


def evaluate_records(
    method: Method,
    records: Sequence[PatchRecord],
    taxonomy: Taxonomy,
    gate: Gate,
    settings: InferenceSettings,
    on_image: Callable[[ImageResult], None],
) -> Evaluation:
    """Predict each image and compare it with its mask.

    Args:
        method: trained, in evaluation mode.
        records: images with masks.
        taxonomy: classes of the masks.
        gate: fitted on labelled patches.
        settings: how maps become masks.
        on_image: called with each image's result, for example to save it.

    Raises:
        DataError: if an image or a mask cannot be read or their sizes differ.
    """
    evaluation = Evaluation(taxonomy)
    for record in records:
        rgb = read_rgb(record.path)
        truth = torch.from_numpy(true_mask(record, rgb.shape[:2], taxonomy)).long()
        evidence = evidence_of(method, rgb, gate.window_px, settings)
        on_image(_add(evaluation, record, rgb, truth, evidence, gate, settings))
    return evaluation


def true_mask(record: PatchRecord, size: tuple[int, int], taxonomy: Taxonomy) -> NDArray[np.uint8]:
    """Return an image's true mask.

    Raises:
        DataError: if there is none, or it has another size than the image.
    """
    if record.mask is None:
        raise DataError(f"{record.path}: no mask to compare with")
    mask = read_mask(record.mask, taxonomy)
    if mask.shape != size:
        raise DataError(
            f"{record.mask}: mask of {mask.shape[1]} x {mask.shape[0]} px for an image of {size[1]} x {size[0]} px; "
            "see all such files with: histoproto data check"
        )
    return mask


def _add(
    evaluation: Evaluation,
    record: PatchRecord,
    rgb: NDArray[np.uint8],
    truth: Tensor,
    evidence: Evidence,
    gate: Gate,
    settings: InferenceSettings,
) -> ImageResult:
    classes = len(evaluation.taxonomy)
    in_truth = torch.tensor([bool((truth == index).any()) for index in range(classes)])
    white = background_of(rgb, evidence.maps, settings.background)
    presence: dict[str, Tensor] = {
        "predicted": predicted_classes(evidence, gate),
        "oracle": in_truth,
        "none": torch.ones(classes, dtype=torch.bool),
    }
    matrices = {}
    decisions = {}
    for name, present in presence.items():
        for rule in BACKGROUNDS:
            decision = decide(evidence.maps, present, None if rule == "ignored" else white)
            matrices[name, rule] = evaluation.accumulators[name][rule].add(decision.mask.long(), truth)
            decisions[name, rule] = decision
    evaluation.strongest.append(evidence.scores.amax((-2, -1)).double().numpy())
    evaluation.truths.append(in_truth.numpy())
    return ImageResult(record, decisions["predicted", "counted"], mean_iou(matrices["predicted", "ignored"]))
