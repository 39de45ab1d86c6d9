"""The part of ``histoproto evaluate`` that a folder of masks needs."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoproto.errors import RunError

if TYPE_CHECKING:
    from histoproto.data.manifest import PatchRecord, Study
    from histoproto.evaluation.mask_folder import ValueCode
    from histoproto.evaluation.of_masks import CountedMask

SHOWN = 5
"""Missing masks that are named; the figures list all."""


@dataclass(frozen=True)
class ForeignMasks:
    """Masks that another program has made, as the user describes them."""

    folder: Path
    name: str
    """Of the method."""
    gate: str
    values: str | None
    white_value: int | None


def evaluate_foreign(
    foreign: ForeignMasks, study: Path, split: str, run: Path, mean_over: str | None
) -> dict[str, Any]:
    """Evaluate a folder of masks, write the products into a run folder of its own, return the figures.

    Images without a predicted mask are left out, named, and listed as ``missing`` in the figures.

    Raises:
        RunError: if the run folder belongs to a trained run.
    """
    from histoproto.commands.evaluate import class_indices, records_with_masks
    from histoproto.data.manifest import read_study
    from histoproto.evaluation.figures import all_figures
    from histoproto.evaluation.mask_folder import ValueCode, find_masks
    from histoproto.evaluation.of_masks import evaluate_masks
    from histoproto.evaluation.products import SCHEMA, write_products
    from histoproto.evaluation.split_counts import MAIN, Rule
    from histoproto.progress import progress_bar
    from histoproto.runs import RunFolder

    folder = RunFolder(run)
    if folder.config_file.is_file() and "masks" not in folder.read_config():
        raise RunError(f"{run} is a trained run; choose another folder for the figures of {foreign.folder}")
    data = read_study(study)
    taxonomy, classes = data.taxonomy, data.taxonomy.classes
    chosen = class_indices(mean_over, classes)
    code = ValueCode.of(taxonomy, foreign.values, foreign.white_value)
    masks, missing = find_masks(foreign.folder, records_with_masks(data, split))
    files: list[dict[str, Any]] = []
    with progress_bar(f"Evaluating {split}", len(masks)) as advance:

        def keep(counted: "CountedMask") -> None:
            files.append(_files(counted, run, code, data))
            advance(1)

        counts = evaluate_masks(masks, taxonomy, code, foreign.gate, keep)
    _say_missing(missing, len(masks))
    metrics = {
        "schema": SCHEMA,
        "split": split,
        "classes": list(classes),
        "seed": None,
        "choose_by": None,
        "gate": {"rule": f"masks of {foreign.name}, made elsewhere; gate as their makers state it: {foreign.gate}"},
        **all_figures(counts, classes, chosen),
        "missing": [record.name for record in missing],
    }
    _write_head(folder, foreign, data, len(masks))
    write_products(run, metrics, counts, files, Rule(MAIN, foreign.gate, "ignored"))
    return metrics


def _files(counted: "CountedMask", run: Path, code: "ValueCode", data: "Study") -> dict[str, Any]:
    """Return the files of an image; a mask whose values are not ours is written again with ours."""
    from histoproto.evaluation.mask_folder import ValueCode
    from histoproto.masks import read_indices, write_mask

    shown = counted.prediction.absolute()
    if code != ValueCode.of(data.taxonomy):
        shown = run.absolute() / "eval" / "masks" / f"{counted.prediction.stem}.png"
        stored = read_indices(counted.prediction)
        write_mask(shown, code.translate(stored, counted.prediction, data.taxonomy), data.taxonomy)
    return {
        "name": counted.record.path.stem,
        "image": counted.record.path,
        "truth": counted.record.mask,
        "prediction": shown,
        "confidence": "",
    }


def _say_missing(missing: "list[PatchRecord]", found: int) -> None:
    from rich.console import Console

    if missing:
        names = ", ".join(record.path.stem for record in missing[:SHOWN])
        Console(stderr=True).print(
            f"{len(missing)} of {len(missing) + found} images have no predicted mask and are left out of every figure: "
            f"{names}{', ...' if len(missing) > SHOWN else ''}; all are listed in metrics.json under missing",
            soft_wrap=True,
            markup=False,
            highlight=False,
        )


def _write_head(folder: Any, foreign: ForeignMasks, data: "Study", found: int) -> None:
    """Make the folder a run folder, so that ``report`` and ``--compare`` take it."""
    import time

    from histoproto.runs import versions

    folder.write_config(
        {
            "method": foreign.name,
            "preset": "made elsewhere",
            "seed": None,
            "masks": str(foreign.folder.absolute()),
            "taxonomy": data.taxonomy.to_dict(),
            "study": str(data.folder),
        }
    )
    folder.write_record(
        {
            "command": ["histoproto", *sys.argv[1:]],
            "versions": versions(),
            "seed": None,
            "data_hash": data.data_hash(),
            "masks": found,
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
    )
