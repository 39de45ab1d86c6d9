"""A trained method against true masks, under every gate and background rule.

Gates: ``predicted`` lets the model decide, place by place, which classes may appear; ``oracle`` allows the classes
of the true mask, which nobody has at prediction, so that row is never a result; ``none``
allows all. The method, the gate and the checkpoint have seen no mask unless the run says *val-tuned*.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from histoproto.contracts import TissueModel
from histoproto.data.manifest import PatchRecord
from histoproto.evaluation.presence import Presence
from histoproto.evaluation.split_counts import MAIN, ONE_VIEW, UNREFINED, Rule, SplitCounts
from histoproto.evaluation.tally import Tally
from histoproto.evaluation.truth import true_mask
from histoproto.images import read_rgb
from histoproto.inference.decision import Decision, background_of, decide, predicted_classes
from histoproto.inference.evidence import Evidence, evidence_of
from histoproto.inference.gate import Gate
from histoproto.inference.refine import refiner_of
from histoproto.inference.settings import InferenceSettings
from histoproto.metrics.counts import BACKGROUND_RULES, PixelCounts, count_image
from histoproto.metrics.coverage import ConfidenceCounts, count_confidence
from histoproto.taxonomy import Taxonomy
from histoproto.threads import side_by_side

GATES = ("predicted", "oracle", "none")
HONEST = Rule(MAIN, "predicted", "ignored")
"""The rule whose figures lead."""


@dataclass(frozen=True)
class ImageResult:
    """One image under the predicted gate."""

    record: PatchRecord
    decision: Decision
    """With background, as one would look at it."""
    counts: PixelCounts
    """Under the leading rule: background ignored."""


@dataclass(frozen=True)
class MethodEvaluation:
    """All that an evaluation of a method has found."""

    counts: SplitCounts
    presence: Presence
    confidence: ConfidenceCounts
    """Under the leading rule."""


def variants_of(settings: InferenceSettings) -> dict[str, InferenceSettings]:
    """Return the ways in which masks are made: as set, and without each thing that is done after training."""
    without = {ONE_VIEW: replace(settings, views="none"), UNREFINED: replace(settings, refine="none")}
    return {MAIN: settings} | {name: other for name, other in without.items() if other != settings}


def evaluate_method(
    model: TissueModel,
    records: Sequence[PatchRecord],
    taxonomy: Taxonomy,
    gate: Gate,
    variants: dict[str, InferenceSettings],
    on_image: Callable[[ImageResult], None],
) -> MethodEvaluation:
    """Predict each image and compare it with its mask.

    Args:
        model: trained, in evaluation mode.
        records: images with masks.
        taxonomy: classes of the masks.
        gate: fitted on labelled patches.
        variants: how maps become masks, with ``MAIN`` among them.
        on_image: called with each image's result, for example to save it.

    Raises:
        DataError: if an image or a mask cannot be read or their sizes differ.
    """
    tally, confidence = Tally(), ConfidenceCounts.nothing(len(taxonomy))
    scores, truths = [], []
    device = next(model.parameters()).device

    def judge(record: PatchRecord) -> _Judged:
        return _judge(model, record, taxonomy, gate, variants)

    judged = side_by_side(judge, records, device, first_alone=True)
    for record, image in zip(records, judged, strict=True):
        confidence += image.confidence
        scores.append(image.scores)
        truths.append(image.in_truth)
        tally.add(record, image.found)
        on_image(ImageResult(record, image.shown, image.found[HONEST]))
    return MethodEvaluation(tally.finished(), Presence(np.stack(scores), np.stack(truths)), confidence)


class _Judged(NamedTuple):
    """One image under every rule."""

    found: dict[Rule, PixelCounts]
    shown: Decision
    confidence: ConfidenceCounts
    scores: NDArray[np.float64]
    """Highest pooled score of each class."""
    in_truth: NDArray[np.bool_]


def _judge(
    model: TissueModel, record: PatchRecord, taxonomy: Taxonomy, gate: Gate, variants: dict[str, InferenceSettings]
) -> _Judged:
    rgb = read_rgb(record.path)
    truth = torch.from_numpy(true_mask(record, rgb.shape[:2], taxonomy)).long()
    in_truth = torch.tensor([bool((truth == index).any()) for index in range(len(taxonomy))])
    views = {settings.views: settings for settings in variants.values()}  # refining comes after evidence
    evidence = {name: evidence_of(model, rgb, gate.window_px, settings) for name, settings in views.items()}
    found: dict[Rule, PixelCounts] = {}
    for variant, settings in variants.items():
        for rule, decision in _decisions(variant, model, rgb, evidence[settings.views], in_truth, gate, settings):
            found[rule] = count_image(decision.mask.long(), truth, len(taxonomy), rule.background)
            if rule == HONEST._replace(background="counted"):
                shown = decision
            elif rule == HONEST:
                confidence = count_confidence(decision.mask, decision.confidence, truth, len(taxonomy))
    scores = evidence[variants[MAIN].views].scores.amax((-2, -1)).double().numpy()
    return _Judged(found, shown, confidence, scores, in_truth.numpy())


def _decisions(
    variant: str,
    model: TissueModel,
    rgb: NDArray[np.uint8],
    evidence: Evidence,
    in_truth: Tensor,
    gate: Gate,
    settings: InferenceSettings,
) -> Iterator[tuple[Rule, Decision]]:
    white = background_of(rgb, evidence.maps, settings.background)
    refine = refiner_of(model, rgb, settings)
    presence = {
        "predicted": predicted_classes(evidence, gate),
        "oracle": in_truth,
        "none": torch.ones_like(in_truth),
    }
    for name in GATES:
        decision = decide(evidence.maps, presence[name], refine=refine)
        for background in BACKGROUND_RULES:
            yield Rule(variant, name, background), decision if background == "ignored" else decision.covered(white)
