"""What the figures mean, in sentences that claim no more than was done."""

import math
from collections.abc import Sequence

from histoproto.reports.lead import Lead, lead_of, resampled
from histoproto.reports.reading import RunContents

DRAWN = {
    "predicted": "masks drawn without knowing which tissues a patch holds reach",
    "unknown": "the masks reach",
    "none": "masks in which every tissue may appear everywhere reach",
    "oracle": "masks drawn by one who was told which tissues a patch holds (read from the true mask) reach",
}
"""How the masks under each gate were made."""


def summary(contents: RunContents) -> list[str]:
    """Return the sentences of the opening paragraph."""
    lead = lead_of(contents)
    if not lead.figures:
        sentences = ["This run has not been evaluated yet, so nothing can be said about how good its masks are."]
        return [*sentences, *_supervision(contents)]
    return [
        _score(contents, lead),
        *_caution(lead),
        *_oracle_gap(contents, lead),
        *_weakest(contents, lead),
        *_left_out(contents),
        *_supervision(contents),
    ]


def interval_words(contents: RunContents, lead: Lead, measure: str = "miou") -> str:
    """Return the interval of a leading figure with what was resampled, or why there is none; empty if unknown."""
    drawn, ends_of_it = resampled(contents), lead.ends(measure)
    if not drawn:
        return ""
    uncertainty = contents.evaluation["uncertainty"]
    if ends_of_it is None:
        return f"no interval, since {drawn} {'are' if uncertainty['number'] > 1 else 'is'} too few"
    low, high = ends_of_it
    return f"{100 * uncertainty['level']:g} % interval {number(low)} to {number(high)}, from {drawn} drawn anew"


def below_tiles(contents: RunContents, lead: Lead) -> str:
    """Return what stands below the leading figures about their intervals; empty if unknown."""
    words = interval_words(contents, lead)
    if not words or lead.ends("miou") is None:
        return f"{words[:1].upper()}{words[1:]}." if words else ""
    level = contents.evaluation["uncertainty"]["level"]
    return f"Below each its {100 * level:g} % interval, from {resampled(contents)} drawn anew."


def number(value: float | int | None) -> str:
    """Return a fraction with three digits, or n/a."""
    return "n/a" if value is None else f"{value:.3f}"


def ends(found: Sequence[float] | None) -> str:
    """Return an interval as ``0.412–0.503``, or n/a."""
    return "n/a" if found is None else f"{number(found[0])}–{number(found[1])}"


def signed_ends(found: Sequence[float] | None) -> str:
    """Return the interval of a difference as ``-0.033 to +0.046``, or n/a."""
    return "n/a" if found is None else f"{found[0]:+.3f} to {found[1]:+.3f}".replace("-", "−")


def p_value(value: float | None) -> str:
    """Return a p-value with three digits that count, or n/a."""
    if value is None:
        return "n/a"
    return "< 0.001" if value < 0.001 else f"{value:.3g}"


def probability(logit: float | None) -> str:
    """Return a threshold on a score as the probability that it means; none where the gate has none."""
    return "none" if logit is None else number((1 + math.tanh(logit / 2)) / 2)


def duration(seconds: float | int) -> str:
    """Return a time in the units that people say it in."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _score(contents: RunContents, lead: Lead) -> str:
    figures = lead.figures
    present = sum(1 for own in figures.get("per_class", {}).values() if own.get("support_px"))
    images = f" ({figures['images']:,} images)" if "images" in figures else ""
    sure = interval_words(contents, lead)
    return (
        f"On the {contents.evaluation.get('split', 'evaluated')} split{images}, {DRAWN[lead.gate]} a mean IoU of "
        f"{number(figures.get('miou'))}{f' ({sure})' if sure else ''} over "
        f"{present} tissue {'class' if present == 1 else 'classes'}; true white background is not counted."
    )


def _caution(lead: Lead) -> list[str]:
    return {
        "unknown": [
            "How those who made the masks chose the classes that may appear in a patch is not known: had they looked "
            "at the true masks, this would be an upper bound and no result."
        ],
        "oracle": ["That is an upper bound, no result: on new tissue nobody knows it."],
    }.get(lead.gate, [])


def _oracle_gap(contents: RunContents, lead: Lead) -> list[str]:
    oracle = contents.evaluation["results"].get("oracle", {}).get("ignored", {}).get("miou")
    honest = lead.figures.get("miou")
    if oracle is None or honest is None or lead.gate == "oracle":
        return []
    if oracle - honest < 0.0005:
        return [f"Reading the tissues from the true mask (oracle) would not help: {number(oracle)}."]
    return [
        f"With the tissues read from the true mask (oracle) it would be {number(oracle)}: "
        f"{number(oracle - honest)} is lost by not knowing them, and on new tissue nobody does."
    ]


def _left_out(contents: RunContents) -> list[str]:
    missing = len(contents.evaluation.get("missing", ()))
    if not missing:
        return []
    return [f"{missing:,} {'image has' if missing == 1 else 'images have'} no predicted mask and count in no figure."]


def _weakest(contents: RunContents, lead: Lead) -> list[str]:
    known = {name: f["iou"] for name, f in lead.figures.get("per_class", {}).items() if f.get("iou") is not None}
    if len(known) < 2:
        return []
    worst = min(known, key=lambda name: known[name])
    title = dict(zip(contents.taxonomy.classes, contents.taxonomy.titles, strict=True)).get(worst, worst)
    return [f"Weakest class: {title} with an IoU of {number(known[worst])}."]


def _supervision(contents: RunContents) -> list[str]:
    if contents.foreign:
        return [
            f"The masks are those of {contents.config.get('method')}, made elsewhere; what they were trained with and "
            "how their checkpoint was chosen is not known here."
        ]
    rule = contents.record.get("choose_by") or contents.config.get("training", {}).get("choose_by")
    epoch = contents.record.get("best_epoch")
    which = f"The checkpoint (epoch {epoch})" if epoch is not None else "The checkpoint"
    if rule != "validation-masks" and contents.record.get("val_tuned"):
        return [
            f"{which} was not chosen by masks, but the run that taught it was, so the model is val-tuned: it rests on "
            "more than image-level labels."
        ]
    match rule:
        case "holdout-loss":
            return [
                f"{which} is the one with the lowest loss on held-out labels. No true mask took part in training or "
                "in this choice: the model is label-only."
            ]
        case "last":
            return [f"{which} is the last one. No true mask took part in training: the model is label-only."]
        case "validation-masks":
            same = " The figures here come from the validation split itself and flatter it."
            seen = str(contents.evaluation.get("split", "")).startswith("val")
            return [
                f"{which} was chosen by its figure on true validation masks, so the model is val-tuned: it rests on "
                "more than image-level labels." + (same if seen else "")
            ]
    return ["The run does not say how its checkpoint was chosen."]
