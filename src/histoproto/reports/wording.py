"""What the figures mean, in sentences that claim no more than was done."""

from typing import Any

from histoproto.reports.reading import RunContents

GATES = {
    "predicted": ("Predicted gate", "which classes may appear is decided by the model itself"),
    "none": ("No gate", "every class may appear everywhere"),
    "oracle": ("Oracle gate", "uses the true mask; no result for new tissue"),
}
"""Title and meaning of each gate, in the order of the table."""

HONEST = ("predicted", "ignored")
"""Gate and background rule of the figures that the report leads with."""


def honest_result(contents: RunContents) -> dict[str, Any]:
    """Return the result under the predicted gate with background ignored; empty if there is none."""
    gate, background = HONEST
    result: dict[str, Any] = contents.evaluation.get("results", {}).get(gate, {}).get(background, {})
    return result


def summary(contents: RunContents) -> list[str]:
    """Return the sentences of the opening paragraph."""
    result = honest_result(contents)
    if result:
        sentences = [_score(contents, result), *_oracle_gap(contents, result), *_weakest(contents, result)]
    else:
        sentences = ["This run has not been evaluated yet, so nothing can be said about how good its masks are."]
    return [*sentences, *_supervision(contents)]


def number(value: float | int | None) -> str:
    """Return a fraction with three digits, or n/a."""
    return "n/a" if value is None else f"{value:.3f}"


def duration(seconds: float | int) -> str:
    """Return a time in the units that people say it in."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _score(contents: RunContents, result: dict[str, Any]) -> str:
    present = sum(1 for figures in result.get("per_class", {}).values() if figures.get("support_px"))
    images = f" ({result['images']:,} images)" if "images" in result else ""
    return (
        f"On the {contents.evaluation.get('split', 'evaluated')} split{images}, masks drawn without knowing which "
        f"tissues a patch holds reach a mean IoU of {number(result.get('miou'))} over "
        f"{present} tissue {'class' if present == 1 else 'classes'}; true white background is not counted."
    )


def _oracle_gap(contents: RunContents, result: dict[str, Any]) -> list[str]:
    oracle = contents.evaluation["results"].get("oracle", {}).get("ignored", {}).get("miou")
    honest = result.get("miou")
    if oracle is None or honest is None:
        return []
    if oracle - honest < 0.0005:
        return [f"Reading the tissues from the true mask (oracle) would not help: {number(oracle)}."]
    return [
        f"With the tissues read from the true mask (oracle) it would be {number(oracle)}: "
        f"{number(oracle - honest)} is lost by not knowing them, and on new tissue nobody does."
    ]


def _weakest(contents: RunContents, result: dict[str, Any]) -> list[str]:
    known = {name: f["iou"] for name, f in result.get("per_class", {}).items() if f.get("iou") is not None}
    if len(known) < 2:
        return []
    worst = min(known, key=lambda name: known[name])
    title = dict(zip(contents.taxonomy.classes, contents.taxonomy.titles, strict=True)).get(worst, worst)
    return [f"Weakest class: {title} with an IoU of {number(known[worst])}."]


def _supervision(contents: RunContents) -> list[str]:
    rule = contents.record.get("choose_by") or contents.config.get("training", {}).get("choose_by")
    epoch = contents.record.get("best_epoch")
    which = f"The checkpoint (epoch {epoch})" if epoch is not None else "The checkpoint"
    match rule:
        case "holdout-loss":
            return [
                f"{which} is the one with the lowest loss on held-out labels. No mask took part in training or in "
                "this choice: the model is label-only."
            ]
        case "last":
            return [f"{which} is the last one. No mask took part in training: the model is label-only."]
        case "validation-masks":
            same = " The figures here come from the validation split itself and flatter it."
            seen = str(contents.evaluation.get("split", "")).startswith("val")
            return [
                f"{which} was chosen by its figure on true validation masks, so the model is val-tuned: it rests on "
                "more than image-level labels." + (same if seen else "")
            ]
    return ["The run does not say how its checkpoint was chosen."]
