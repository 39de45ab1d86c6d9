"""Which row of an evaluation leads, and what the gates and ways to make the masks are called."""

from typing import Any, NamedTuple

from histoproto.reports.reading import RunContents


class Words(NamedTuple):
    """A gate or a way to make masks, for people."""

    title: str
    meaning: str


GATES = {
    "predicted": Words("Predicted gate", "which classes may appear is decided by the model itself"),
    "unknown": Words("Gate unknown", "how the classes that may appear were chosen was not stated"),
    "none": Words("No gate", "every class may appear everywhere"),
    "oracle": Words("Oracle gate", "uses the true mask; no result for new tissue"),
}
"""In the order of the table; the first one that was evaluated leads."""

VARIANTS = {
    "one-view": Words("Without test-time augmentation", "each image is looked at once, not averaged over views"),
    "unrefined": Words("Without the refiner", "masks as the class maps give them"),
}
"""Other ways in which a run makes its masks."""

REFINERS = {
    "crf": "dense CRF",
    "affinity": "random walk by affinity",
    "superpixels": "votes in superpixels",
    "sam": "votes in masks of Segment Anything",
}
"""What the values of ``inference.refine`` stand for."""

LEADING_BACKGROUND = "ignored"


class Lead(NamedTuple):
    """The figures that the report leads with."""

    gate: str
    background: str
    figures: dict[str, Any]
    """Empty if there are none."""

    @property
    def words(self) -> str:
        """The rule that the figures were made under."""
        return f"{GATES[self.gate].title}, white background {self.background}"

    def ends(self, measure: str) -> tuple[float, float] | None:
        """Return the interval of a figure, None without one."""
        found = self.figures.get("interval", {}).get(measure)
        return None if found is None else (found[0], found[1])


def lead_of(contents: RunContents) -> Lead:
    """Return the leading figures: those of the model's own gate, or of the gate that foreign masks were made with."""
    results = contents.evaluation.get("results", {})
    for gate in GATES:
        if LEADING_BACKGROUND in results.get(gate, {}):
            return Lead(gate, LEADING_BACKGROUND, results[gate][LEADING_BACKGROUND])
    return Lead("predicted", LEADING_BACKGROUND, {})


def variant_words(variant: str, evaluation: dict[str, Any]) -> Words:
    """Return what a way to make masks is called; the refiner that it leaves out is named."""
    words = VARIANTS.get(variant, Words(variant, ""))
    refiner = REFINERS.get(evaluation.get("refine", ""))
    if variant == "unrefined" and refiner is not None:
        return words._replace(title=f"{words.title} ({refiner})")
    return words


def resampled(contents: RunContents, number: int | None = None) -> str:
    """Return what the intervals resample, as ``12 slides or patients``; empty where nobody says.

    Args:
        contents: of the run.
        number: another number than that of the evaluation.
    """
    uncertainty = contents.evaluation.get("uncertainty")
    if not uncertainty:
        return ""
    count = uncertainty["number"] if number is None else number
    images = uncertainty["resampled"] == "images"
    if count == 1:
        return "1 image" if images else "1 slide or patient"
    return f"{count:,} {'images' if images else 'slides or patients'}"
