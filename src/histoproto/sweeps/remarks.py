"""The notes under the table about our own figures: what they were made of, and what they are not."""

from collections.abc import Iterable, Sequence

from histoproto.data.manifest import Study
from histoproto.sweeps.cells import Cell
from histoproto.sweeps.data import PHANTOM
from histoproto.sweeps.tiny import EPOCHS

CHOOSING = {
    "holdout-loss": "the best by the class loss on held-out labels",
    "validation-masks": "the best by validation masks (val-tuned)",
    "last": "the last",
}


def remarks_on_ours(
    cells: Sequence[Cell], seeds: Sequence[int], study: Study, split: str, data: str, replaced: Sequence[str] | None
) -> list[str]:
    """Return the protocol of ours in words.

    Args:
        cells: of the sweep.
        seeds: of each.
        study: what was trained on.
        split: what was evaluated.
        data: what the user named.
        replaced: what took whose place in a tiny sweep; None if it is none.
    """
    remarks = []
    counts = study.splits
    if replaced is not None:
        instead = f", {'; '.join(replaced)}" if replaced else ""
        epochs = f", {EPOCHS} epochs" if not cells[0].zeroshot else ""
        banks = " Banks hold the few patches that there are." if any(cell.bank for cell in cells) else ""
        remarks.append(
            f"Tiny: {counts['train']} training patches{epochs}{instead}.{banks} This shows the road, not the quality: "
            "which row is best means nothing."
        )
    if data == PHANTOM:
        remarks.append("Ours are of drawn tissue, the published ones of patients: they cannot be compared.")
    if cells[0].zeroshot is not None:
        remarks.append(f"Ours: macro F1 over the patches of {split} that show one class alone, of {counts[split]}.")
        return remarks
    remarks.append(_protocol(cells, seeds, split, counts[split]))
    return remarks


def _protocol(cells: Sequence[Cell], seeds: Sequence[int], split: str, patches: int) -> str:
    settings = [cell.run_settings(cell.name) for cell in cells]
    presets = _each(f"{own.method} {own.preset}" for own in settings)
    chosen = _each(CHOOSING[own.training.choose_by] for own in settings)
    views = _each(own.inference.views for own in settings)
    count = f"{len(seeds)} seeds ({', '.join(map(str, seeds))})" if len(seeds) > 1 else f"seed {seeds[0]} alone"
    return (
        f"Ours: preset {presets}, stage 1, {split} ({patches} patches), {count}, views {views}, no CRF, checkpoint "
        f"{chosen}. mIoU: the model's own gate, background ignored; mIoU, oracle: only classes of the true mask, "
        "background counted, as in the released codes, an upper bound and no result."
    )


def _each(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words))
