"""``histoproto masks``."""

import json as json_text
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from histoproto.commands.next_step import say_next

if TYPE_CHECKING:
    from histoproto.data.manifest import PatchRecord, Study
    from histoproto.inference.decision import Decision
    from histoproto.inference.gate import Gate
    from histoproto.wiring.runs import Run


SOURCE = "source.json"
"""File beside masks that says which run and which checkpoint made them, of which data."""
LABELLED_SPLITS = ("train", "holdout")
"""Splits whose image-level labels may gate masks."""


def masks(
    run: Path,
    /,
    *,
    split: str = "train",
    checkpoint: str = "best",
    refine: Literal["none", "crf", "affinity", "superpixels", "sam"] | None = None,
    refine_weights: str | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Write a pseudo mask for each patch of a split, for training a segmenter or for looking at.

    Classes allowed in a mask are the image-level labels of training patches, since they are known; in val and test,
    and where there are no labels, the classes that the model itself lets in. White background follows the run's rule.

    Writes masks/SPLIT/: indexed PNGs, confidence/ (grey PNGs, 255 = sure), and manifest.csv and .parquet. Masks that
    the same checkpoint has already written are kept, so a killed command goes on where it was.

    Args:
        run: Run folder of histoproto train.
        split: Split of the run's study.
        checkpoint: best or last.
        refine: Let masks follow the photograph's edges, by a dense CRF (crf), a random walk between places that look
            alike to the model (affinity), votes in superpixels, or votes in masks of a Segment Anything network (sam).
            [default: as the run is set]
        refine_weights: That network: a folder, or hf:org/name@revision, in transformers' format.
        json: Print where the masks are, and how much of them each class covers, as JSON.
    """
    from histoproto.data.manifest import read_study
    from histoproto.wiring.runs import load_run

    trained = load_run(run, checkpoint).refined(refine, refine_weights).ready()
    study = read_study(trained.study)
    records, folder = study.split(split), trained.folder.path / "masks" / split
    shares = write_masks(trained, study, split, folder, checkpoint)
    if json:
        content = {"folder": str(folder), "masks": len(records), "share_of_pixels": shares}
        sys.stdout.write(json_text.dumps(content, indent=2) + "\n")
        return
    _show(folder, shares, len(records), run)


def write_masks(trained: "Run", study: "Study", split: str, folder: Path, checkpoint: str = "best") -> dict[str, float]:
    """Write the masks of a split with their manifest; return the share of pixels per mask value.

    Args:
        trained: the run that sees.
        study: its patches, with labels for the training split.
        split: which of them.
        folder: where to; masks that the same checkpoint has already written there are kept, others removed.
        checkpoint: which checkpoint of the run it is.

    Raises:
        DataError: if a patch cannot be read.
        RunError: if training has not finished.
    """
    from histoproto.inference.gate import Gate

    gate = Gate.from_record(trained.folder.read_record(), str(trained.folder.path))
    _begin(folder, source_of(trained, study, checkpoint))
    return _write_all(trained, gate, study.split(split), folder, split)


def source_of(trained: "Run", study: "Study", checkpoint: str = "best") -> dict[str, Any]:
    """Return what masks depend on: which run and checkpoint, which data, which settings."""
    import hashlib
    from dataclasses import asdict

    weights = trained.folder.checkpoint(checkpoint) / "model.safetensors"
    with weights.open("rb") as handle:
        source = {
            "run": str(trained.folder.path.absolute()),
            "classes": list(trained.taxonomy.classes),
            "data_hash": study.data_hash(),
            "checkpoint": checkpoint,
            "sha256": hashlib.file_digest(handle, "sha256").hexdigest(),
            "gate": trained.folder.read_record()["gate"],
            "inference": asdict(trained.settings.inference),
        }
    plain: dict[str, Any] = json_text.loads(json_text.dumps(source))  # as it will be read: tuples become lists
    return plain


def read_source(folder: Path) -> dict[str, Any] | None:
    """Return what the masks of a folder were made from; None where there are none."""
    stamp = folder / SOURCE
    if not stamp.is_file():
        return None
    source: dict[str, Any] = json_text.loads(stamp.read_text(encoding="utf-8"))
    return source


def _begin(folder: Path, source: dict[str, Any]) -> None:
    """Keep masks of this very source, remove those of another."""
    import shutil

    from histoproto.atomic import write_json

    if read_source(folder) == source:
        return
    if folder.exists():
        shutil.rmtree(folder)
    write_json(folder / SOURCE, source)


def _write_all(
    trained: "Run", gate: "Gate", records: "list[PatchRecord]", folder: Path, split: str
) -> dict[str, float]:
    """Write what is missing and the manifest; return the share of pixels per mask value."""
    import numpy as np
    import pandas as pd

    from histoproto.atomic import replacing
    from histoproto.formats.confidence import write_confidence
    from histoproto.masks import read_indices, write_mask
    from histoproto.naming import unique_names
    from histoproto.progress import progress_bar
    from histoproto.threads import side_by_side

    counts = np.zeros(256, dtype=np.int64)
    rows: list[dict[str, Any]] = []

    def written(item: "tuple[PatchRecord, str]") -> dict[str, Any]:
        record, name = item
        mask, confidence = folder / f"{name}.png", folder / "confidence" / f"{name}.png"
        labels = _known_labels(record, split)
        if not mask.is_file() or not confidence.is_file():
            decision = _decide(trained, gate, record, labels)
            write_confidence(confidence, decision.confidence.numpy())
            write_mask(mask, decision.mask.numpy(), trained.taxonomy)
        return {
            "image": str(record.path),
            "mask": str(mask.absolute()),
            "confidence": str(confidence.absolute()),
            "gate": "predicted" if labels is None else "labels",
            "group": record.group,
        }

    device = next(trained.model.parameters()).device
    named = zip(records, unique_names([record.path for record in records]), strict=True)
    with progress_bar("Writing masks", len(records)) as advance:
        for row in side_by_side(written, named, device, first_alone=True):
            counts += np.bincount(read_indices(Path(row["mask"])).ravel(), minlength=256)
            rows.append(row)
            advance(1)
    table = pd.DataFrame(rows)
    with replacing(folder / "manifest.csv") as temporary:
        table.to_csv(temporary, index=False)
    with replacing(folder / "manifest.parquet") as temporary:
        table.to_parquet(temporary, index=False)
    names = {**dict(enumerate(trained.taxonomy.classes)), trained.taxonomy.background: "background", 255: "undecided"}
    return {name: float(counts[value] / counts.sum()) for value, name in names.items()}


def _known_labels(record: "PatchRecord", split: str) -> tuple[int, ...] | None:
    """Return the labels that a mask may use: those of training patches; elsewhere they would be an oracle."""
    return record.labels if split in LABELLED_SPLITS else None


def _decide(trained: "Run", gate: "Gate", record: "PatchRecord", labels: tuple[int, ...] | None) -> "Decision":
    import torch

    from histoproto.images import read_rgb
    from histoproto.inference.decision import background_of, decide, predicted_classes
    from histoproto.inference.evidence import evidence_of
    from histoproto.inference.refine import refiner_of

    rgb = read_rgb(record.path)
    evidence = evidence_of(trained.model, rgb, gate.window_px, trained.settings.inference)
    present = predicted_classes(evidence, gate) if labels is None else torch.tensor(labels, dtype=torch.bool)
    settings = trained.settings.inference
    background = background_of(rgb, evidence.maps, settings.background)
    return decide(evidence.maps, present, background, refiner_of(trained.model, rgb, settings))


def _show(folder: Path, shares: dict[str, float], count: int, run: Path) -> None:
    from rich.console import Console

    console = Console()
    covered = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
    console.print(f"{count} masks in {folder}: {covered}", soft_wrap=True, markup=False, highlight=False)
    say_next(f"histoproto evaluate {run}")
