"""The part of ``histoproto evaluate`` that a trained run needs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoproto.errors import RunError

if TYPE_CHECKING:
    from histoproto.data.manifest import PatchRecord
    from histoproto.evaluation.of_method import ImageResult, MethodEvaluation
    from histoproto.inference.gate import Gate
    from histoproto.wiring.runs import Run

PROTOTYPE_EXAMPLES = 4
"""Images whose prototype maps are kept for the report."""


def evaluate_run(
    trained: "Run", split: str, study: Path | None, checkpoint: str, mean_over: str | None
) -> dict[str, Any]:
    """Evaluate a run as it is set, write its products, return the figures; arguments as those of the command."""
    from histoproto.commands.evaluate import class_indices, records_with_masks
    from histoproto.contracts import Method
    from histoproto.data.manifest import read_study
    from histoproto.evaluation.coverage import coverage_curve, write_counts
    from histoproto.evaluation.figures import all_figures
    from histoproto.evaluation.of_method import HONEST
    from histoproto.evaluation.presence import judge_presence
    from histoproto.evaluation.products import SCHEMA, write_products
    from histoproto.inference.gate import Gate

    run = trained.folder.path
    gate = Gate.from_record(trained.folder.read_record(), str(run))
    data = read_study(study or trained.study)
    classes = trained.taxonomy.classes
    if data.taxonomy.classes != classes:
        raise RunError(
            f"{run} knows {', '.join(classes)}, but {data.folder} has "
            f"{', '.join(data.taxonomy.classes)}; evaluate on a study of the same classes"
        )
    chosen = class_indices(mean_over, classes)
    records = records_with_masks(data, split)
    found, files = _predict(trained, gate, records, split)
    _write_presence(run, found, gate, classes)
    if isinstance(trained.model, Method):
        _write_prototypes(trained, [record.path for record in records[:PROTOTYPE_EXAMPLES]])
    metrics = {
        "schema": SCHEMA,
        "split": split,
        "classes": list(classes),
        "seed": trained.settings.seed,
        "checkpoint": checkpoint,
        "choose_by": trained.settings.training.choose_by,
        "gate": gate.to_dict(),
        "background": trained.settings.inference.background,
        "views": trained.settings.inference.views,
        "refine": trained.settings.inference.refine,
        "precision": trained.settings.inference.precision,
        **all_figures(found.counts, classes, chosen),
        "classification": judge_presence(found.presence, classes, gate.thresholds),
        "confidence": coverage_curve(found.confidence, classes),
    }
    write_counts(run / "eval" / "confidence.csv", found.confidence, classes)
    write_products(run, metrics, found.counts, files, HONEST)
    return metrics


def _predict(
    trained: "Run", gate: "Gate", records: "list[PatchRecord]", split: str
) -> "tuple[MethodEvaluation, list[dict[str, Any]]]":
    """Return the counts, and for each image the files that were written."""
    from histoproto.evaluation.of_method import evaluate_method, variants_of
    from histoproto.formats.confidence import write_confidence
    from histoproto.masks import write_mask
    from histoproto.naming import unique_names
    from histoproto.progress import progress_bar

    folder = trained.folder.path / "eval"
    paths = [record.path for record in records]
    names = dict(zip(paths, unique_names(paths), strict=True))
    files: list[dict[str, Any]] = []

    with progress_bar(f"Evaluating {split}", len(records)) as advance:

        def keep(result: "ImageResult") -> None:
            name = names[result.record.path]
            mask, confidence = folder / "masks" / f"{name}.png", folder / "confidence" / f"{name}.png"
            write_mask(mask, result.decision.mask.numpy(), trained.taxonomy)
            write_confidence(confidence, result.decision.confidence.numpy())
            files.append(
                {
                    "name": name,
                    "image": result.record.path,
                    "truth": result.record.mask,
                    "prediction": mask.relative_to(trained.folder.path),
                    "confidence": confidence.relative_to(trained.folder.path),
                }
            )
            advance(1)

        variants = variants_of(trained.settings.inference)
        found = evaluate_method(trained.model, records, trained.taxonomy, gate, variants, keep)
    return found, files


def _write_presence(run: Path, found: "MethodEvaluation", gate: "Gate", classes: tuple[str, ...]) -> None:
    """Write what the run claims about each image and what is true: ``eval/presence.csv``."""
    import pandas as pd

    from histoproto.atomic import replacing

    presence, allowed = found.presence, found.presence.allowed(gate.thresholds)
    rows = [
        {
            "image": image.name,
            "group": image.group,
            "class": name,
            "score": presence.scores[row, column],
            "probability": presence.probabilities[row, column],
            "threshold": gate.thresholds[column],
            "allowed": int(allowed[row, column]),
            "true": int(presence.truths[row, column]),
        }
        for row, image in enumerate(found.counts.images)
        for column, name in enumerate(classes)
    ]
    with replacing(run / "eval" / "presence.csv") as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False, lineterminator="\n", float_format="%.6g")


def _write_prototypes(trained: "Run", images: list[Path]) -> None:
    """Keep each prototype's activation on a few images as grey pictures."""
    import torch

    from histoproto.atomic import write_json
    from histoproto.formats.confidence import write_confidence
    from histoproto.images import read_rgb
    from histoproto.naming import unique_names

    folder = trained.folder.path / "eval" / "prototypes"
    device = next(trained.model.parameters()).device
    entries = []
    for path, stem in zip(images, unique_names(images), strict=True):
        rgb = read_rgb(path)
        image = torch.from_numpy(rgb.transpose(2, 0, 1).copy())[None].float() / 255
        with torch.inference_mode():
            maps = trained.method.prototype_maps(image.to(device))[0].cpu()  # (T, h, w), in [-1, 1]
        owners = [c for c, count in enumerate(trained.method.counts) for _ in range(count)]
        for index, (owner, activation) in enumerate(zip(owners, maps, strict=True)):
            file = folder / f"{stem}.{index:02d}.png"
            write_confidence(file, ((activation + 1) / 2).clamp(0, 1).numpy())
            name = trained.taxonomy.classes[owner]
            entries.append(
                {
                    "image": str(path),
                    "class": name,
                    "prototype": index,
                    "file": str(file.relative_to(folder.parent)),
                }
            )
    write_json(folder.parent / "prototypes.json", entries)
