"""Figures that others published, in rows with the protocol that each was made under."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from histoproto.reports.lead import lead_of
from histoproto.reports.reading import RunContents

MEASURES = {"miou": "mIoU", "dice": "Dice", "fwiou": "FwIoU", "biou": "bIoU"}
"""Columns with figures."""
PROTOCOL = {
    "gate": "Gate",
    "background": "Background",
    "tta": "TTA",
    "crf": "CRF",
    "checkpoint": "Checkpoint",
    "seeds": "Seeds",
    "source": "Source",
}
"""Columns with the protocol."""
MAIN = "main"
OUR_MEASURES = {"miou": "miou", "dice": "dice", "fwiou": "fwiou", "biou": "biou_0.02"}
OUR_BACKGROUND = {"ignored": "dropped", "counted": "predicted"}
OUR_CHECKPOINT = {"holdout-loss": "best held-out labels", "validation-masks": "best-val-masks", "last": "last"}
OUR_RULES = (("oracle", "counted"),)
"""Rules whose figures stand beside the leading one: the released code's of most published figures."""


class Cell(NamedTuple):
    """One figure."""

    percent: float | None
    """None where a figure exists but nobody here knows it."""
    sd: float | None = None
    status: str = "ok"
    """Of the table of published figures: ok, copied, inferred, typo or impossible."""
    note: str = ""


@dataclass(frozen=True)
class PublishedRow:
    """One method in one table of one paper, or ours."""

    method: str
    where: str
    """Paper and table."""
    variant: str
    """``main``, or which row of an ablation."""
    stage: str
    cells: dict[str, Cell]
    """By measure; those not reported are left out."""
    protocol: dict[str, str]
    """By the keys of ``PROTOCOL``."""
    from_code: bool = False
    """Whether the protocol was read in released code, not in the paper."""
    ours: bool = False

    @property
    def notes(self) -> list[str]:
        """What is said about its figures, each once."""
        return list(dict.fromkeys(cell.note for cell in self.cells.values() if cell.note))


@dataclass(frozen=True)
class Published:
    """What the page is given."""

    dataset: str
    rows: Sequence[PublishedRow]

    @property
    def main(self) -> list[PublishedRow]:
        """Rows of methods as they are, best mean IoU first."""
        return sorted((row for row in self.rows if row.variant == MAIN), key=_best_first)

    @property
    def ablations(self) -> list[PublishedRow]:
        """Rows of methods with something changed, in the order of the tables."""
        return [row for row in self.rows if row.variant != MAIN]

    @property
    def remarks(self) -> list[str]:
        """Sentences about figures that are not simply as printed, and about protocols."""
        cells = [cell for row in self.rows for cell in row.cells.values()]
        words = {
            "impossible": IMPOSSIBLE,
            "typo": "a misprint",
            "inferred": "computed from printed figures",
            "copied": "copied from elsewhere",
        }
        used = {cell.status for cell in cells}
        marks = [f"{MARKS[status]}: {meaning}." for status, meaning in words.items() if status in used]
        if any(cell.percent is None for cell in cells):
            marks.append("?: published, but not known to us.")
        if any(row.from_code for row in self.rows):
            marks.append("† Read in the released code, which the paper need not have been made with.")
        return marks


IMPOSSIBLE = (
    "impossible. No pooled confusion matrix gives this Dice beside this mIoU: a mean over classes stays below "
    "200 mIoU / (100 + mIoU) unless all classes have one IoU, and the printed figure is there or above"
)
MARKS = {"impossible": "×", "typo": "t", "inferred": "i", "copied": "c"}


def our_rows(contents: RunContents) -> list[PublishedRow]:
    """Return the run's own figures as rows of the same table: the leading rule, and the released code's."""
    lead = lead_of(contents)
    rules = dict.fromkeys([(lead.gate, lead.background), *OUR_RULES])
    results = contents.evaluation.get("results", {})
    return [
        _ours(contents, gate, background, results[gate][background])
        for gate, background in rules
        if background in results.get(gate, {})
    ]


def _ours(contents: RunContents, gate: str, background: str, figures: dict[str, Any]) -> PublishedRow:
    values = {measure: figures.get(key) for measure, key in OUR_MEASURES.items()}
    foreign, seed = contents.foreign, contents.config.get("seed")
    return PublishedRow(
        method=f"{contents.config.get('method')} (this run)",
        where="",
        variant=MAIN,
        stage="unknown" if foreign else "1",
        cells={measure: Cell(100 * value) for measure, value in values.items() if value is not None},
        protocol={
            "gate": gate,
            "background": "unknown" if foreign and background == "counted" else OUR_BACKGROUND[background],
            "tta": str(contents.evaluation.get("views", "unknown")),
            "crf": "unknown" if foreign else "dense" if contents.evaluation.get("refine") == "crf" else "none",
            "checkpoint": OUR_CHECKPOINT.get(str(contents.evaluation.get("choose_by")), "unknown"),
            "seeds": "unknown" if seed is None else "1",
            "source": f"{contents.evaluation.get('split', 'unknown')} split",
        },
        ours=True,
    )


def _best_first(row: PublishedRow) -> tuple[float, str, str]:
    cell = row.cells.get("miou")
    return (-(cell.percent if cell is not None and cell.percent is not None else 0.0), row.method, row.where)
