"""Published figures, each with the protocol that it was made under as far as anyone knows.

``published.csv`` holds one figure per row, ordered by table, dataset, method, variant and measure. ``unknown`` stands
wherever nothing was stated or could be read; a figure that is known to exist but was not retrieved has the value
``unknown`` too. The words of the protocol, for true pixels of white or excluded background (label 4 of BCSS-WSSS):

gate
    ``oracle``: only classes of the true mask may be predicted. ``predicted``: those that the model itself finds.
    ``none``: all classes.
background
    ``kept``: background pixels stay in the confusion matrix, and since background is never predicted, each is a false
    positive of the class predicted there. ``predicted``: they stay, and background can be predicted. ``dropped``:
    they do not count.
checkpoint
    ``best-val-masks``: the best by validation masks, which is more than image-level supervision. ``last``: the end of
    training.
protocol_source
    ``released code``: read in the code, which the paper need not have been made with; no paper says all of this.

And those of the figure itself:

status
    ``ok``: as printed. ``copied``: taken over by its source from elsewhere. ``inferred``: computed or concluded from
    printed figures. ``typo``: printed, but a misprint. ``impossible``: printed, but no pooled confusion matrix gives it
    (PBIP's Dice is 200 mIoU / (100 + mIoU) or above: the mean over classes reaches this only if all have one IoU).
"""

import csv
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from histoproto.errors import DataError

UNKNOWN = "unknown"
FILE = Path(__file__).with_name("published.csv")

Stage = Literal["1", "2", "unknown", "not applicable"]
GateWord = Literal["oracle", "predicted", "none", "unknown", "not applicable"]
BackgroundWord = Literal["kept", "predicted", "dropped", "unknown", "not applicable"]
ViewsWord = Literal["none", "flip x contrast", "three views", "d4", "unknown"]
CrfWord = Literal["none", "dense", "unknown", "not applicable"]
ProtocolSource = Literal["released code", "unknown"]
CheckpointWord = Literal["best-val-masks", "last", "unknown", "not applicable"]
Status = Literal["ok", "copied", "inferred", "typo", "impossible"]


def _known(text: Any) -> Any:
    return None if text == UNKNOWN else text


Known = pydantic.BeforeValidator(_known)


@pydantic.dataclasses.dataclass(frozen=True, config=pydantic.ConfigDict(extra="forbid"))
class PublishedFigure:
    """One row of ``published.csv``."""

    method: str
    venue: str
    year: int
    dataset: str
    """``bcss-wsss``, ``luad-histoseg``, ``gcss`` or ``bcss``."""
    split: str
    table: str
    """Where the figure stands, for example ``PBIP Table 4``."""
    variant: str
    """Which row or column of the table; ``main`` where the method is all that there is to say."""
    stage: Stage
    """1: class maps themselves; 2: a segmentation network trained on them."""
    measure: str
    """``miou``, ``fwiou``, ``biou``, ``dice``, ``f1``, or one of a class as in ``iou[TUM]``."""
    value: Annotated[float | None, Known]
    """Percent; None where unknown."""
    sd: Annotated[float | None, Known]
    """Standard deviation over seeds, percent points."""
    seeds: Annotated[int | None, Known]
    gate: GateWord
    background: BackgroundWord
    tta: ViewsWord
    """Averaged views: ``flip x contrast`` is with and without horizontal flip at three contrasts, ``d4`` the square's
    eight symmetries."""
    crf: CrfWord
    checkpoint: CheckpointWord
    protocol_source: ProtocolSource
    """Where gate, background, views, CRF and checkpoint are from."""
    source: str
    """Where we read it: the paper, its README, its abstract, a summary page, or another paper."""
    status: Status
    note: str

    @property
    def key(self) -> tuple[str, ...]:
        """What no two rows share, in the order of the file."""
        return self.table, self.dataset, self.method, self.variant, self.measure

    @property
    def protocol(self) -> str:
        """The protocol in words; nothing is claimed where nothing is known."""
        parts = {
            "stage": self.stage,
            "gate": self.gate,
            "background": self.background,
            "views": self.tta,
            "CRF": self.crf,
            "checkpoint": self.checkpoint,
        }
        known = [f"{name} {word}" for name, word in parts.items() if word not in (UNKNOWN, "not applicable")]
        unknown = [name for name, word in parts.items() if word == UNKNOWN]
        seeds = [f"{self.seeds} seeds"] if self.seeds else ["seeds unknown"]
        rest = [f"unknown: {', '.join(unknown)}"] if unknown else []
        words = ", ".join([*known, *seeds, *rest])
        return words if self.protocol_source == UNKNOWN else f"{words} (protocol read in the {self.protocol_source})"


_ROW = pydantic.TypeAdapter(PublishedFigure)


@cache
def read_published(file: Path = FILE) -> tuple[PublishedFigure, ...]:
    """Return all rows of a table of published figures.

    Args:
        file: a CSV file with the fields of ``PublishedFigure`` as columns; the shipped one by default.

    Raises:
        DataError: naming the first row that has a word or a number which is not allowed there.
    """
    with file.open(encoding="utf-8", newline="") as handle:
        return tuple(_row(row, f"{file}:{line}") for line, row in enumerate(csv.DictReader(handle), start=2))


def _row(row: dict[str, Any], where: str) -> PublishedFigure:
    try:
        figure: PublishedFigure = _ROW.validate_python(row)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        column = ".".join(str(part) for part in first["loc"][:1])
        raise DataError(f"{where}: {column}: {first['msg'].lower()}, not {first['input']!r}") from None
    return figure
