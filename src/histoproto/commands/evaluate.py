"""``histoproto evaluate``."""

import csv
import json as json_text
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from histoproto.commands.next_step import say_next
from histoproto.errors import ConfigError, DataError, RunError

if TYPE_CHECKING:
    from histoproto.data.manifest import PatchRecord
    from histoproto.inference.evaluation import ImageResult
    from histoproto.inference.gate import Gate
    from histoproto.wiring import Run

SCHEMA = "histoproto/metrics/1"
PROTOTYPE_EXAMPLES = 4
"""Images whose prototype maps are kept for the report."""


def evaluate(
    run: Path,
    /,
    *,
    split: str = "test",
    study: Path | None = None,
    checkpoint: str = "best",
    mean_over: str | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Compare a run's masks with true masks, under every gate and background rule side by side.

    Gates say which classes may appear in a mask: *predicted* by the model itself (the honest row), *oracle* the
    classes of the true mask (an upper bound, never a result), *none* all of them. Background *ignored* drops
    pixels of true background; *counted* makes a class predicted there a false positive.

    Writes eval/metrics.json, eval/images.csv, masks, confidences and prototype maps into the run folder.

    Args:
        run: Run folder of histoproto train.
        split: Split of the study that has masks.
        study: Another study of the same classes.
            [default: the one trained on]
        checkpoint: best or last.
        mean_over: Classes to average in an extra column, for example tumour,stroma.
        json: Print the metrics as JSON.
    """
    from histoproto.data.manifest import read_study
    from histoproto.inference.gate import Gate
    from histoproto.wiring import load_run

    trained = load_run(run, checkpoint)
    gate = Gate.from_record(trained.folder.read_record(), str(run))
    data = read_study(study or trained.study)
    if data.taxonomy.classes != trained.taxonomy.classes:
        raise RunError(
            f"{run} knows {', '.join(trained.taxonomy.classes)}, but {data.folder} has "
            f"{', '.join(data.taxonomy.classes)}; evaluate on a study of the same classes"
        )
    chosen = _names(mean_over, trained)
    records = [record for record in data.split(split) if record.mask is not None]
    if not records:
        raise DataError(f"{data.folder}: split {split} has no masks to compare with; name a split that has")
    metrics = _evaluate(trained, gate, records, split)
    for rules in metrics["results"].values():
        for figures in rules.values():
            if chosen:
                figures[f"miou[{','.join(chosen)}]"] = _mean([figures["per_class"][name]["iou"] for name in chosen])
    _write_metrics(trained, metrics)
    if json:
        sys.stdout.write(json_text.dumps(metrics, indent=2) + "\n")
    else:
        _show(metrics, run, chosen)


def _names(mean_over: str | None, trained: "Run") -> list[str]:
    names = [name.strip() for name in mean_over.split(",")] if mean_over else []
    for name in names:
        if name not in trained.taxonomy.classes:
            raise ConfigError(f"--mean-over {name}: there is {', '.join(trained.taxonomy.classes)}")
    return names


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _evaluate(trained: "Run", gate: "Gate", records: "list[PatchRecord]", split: str) -> dict[str, Any]:
    from histoproto.formats.confidence import write_confidence
    from histoproto.inference.evaluation import evaluate_records
    from histoproto.masks import write_mask
    from histoproto.naming import unique_names
    from histoproto.progress import progress_bar

    folder = trained.folder.path / "eval"
    paths = [record.path for record in records]
    names = dict(zip(paths, unique_names(paths), strict=True))
    rows: list[dict[str, Any]] = []

    with progress_bar(f"Evaluating {split}", len(records)) as advance:

        def keep(result: "ImageResult") -> None:
            name = names[result.record.path]
            mask, confidence = folder / "masks" / f"{name}.png", folder / "confidence" / f"{name}.png"
            write_mask(mask, result.decision.mask.numpy(), trained.taxonomy)
            write_confidence(confidence, result.decision.confidence.numpy())
            rows.append(
                {
                    "name": name,
                    "image": result.record.path,
                    "truth": result.record.mask,
                    "prediction": mask.relative_to(trained.folder.path),
                    "confidence": confidence.relative_to(trained.folder.path),
                    "miou": "" if result.miou is None else f"{result.miou:.6f}",
                }
            )
            advance(1)

        inference = trained.settings.inference
        evaluation = evaluate_records(trained.method, records, trained.taxonomy, gate, inference, keep)
    _write_rows(folder / "images.csv", rows)
    _write_prototypes(trained, [record.path for record in records[:PROTOTYPE_EXAMPLES]])
    return {
        "schema": SCHEMA,
        "split": split,
        "classes": list(trained.taxonomy.classes),
        "seed": trained.settings.seed,
        "choose_by": trained.settings.training.choose_by,
        "gate": gate.to_dict(),
        "background": trained.settings.inference.background,
        "results": evaluation.results(),
        "classification": evaluation.classification(gate),
    }


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    from histoproto.atomic import replacing

    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _write_prototypes(trained: "Run", images: list[Path]) -> None:
    """Keep each prototype's activation on a few images as grey pictures."""
    import torch

    from histoproto.atomic import write_json
    from histoproto.formats.confidence import write_confidence
    from histoproto.images import read_rgb
    from histoproto.naming import unique_names

    folder = trained.folder.path / "eval" / "prototypes"
    entries = []
    for path, stem in zip(images, unique_names(images), strict=True):
        rgb = read_rgb(path)
        image = torch.from_numpy(rgb.transpose(2, 0, 1).copy())[None].float() / 255
        with torch.inference_mode():
            maps = trained.method.prototype_maps(image)[0]  # (T, h, w), in [-1, 1]
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


def _write_metrics(trained: "Run", metrics: dict[str, Any]) -> None:
    from histoproto.atomic import write_json

    write_json(trained.folder.path / "eval" / "metrics.json", metrics)


def _show(metrics: dict[str, Any], run: Path, chosen: list[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    def figure(value: float | None) -> str:
        return "n/a" if value is None else f"{value:.3f}"

    extra = [f"miou[{','.join(chosen)}]"] if chosen else []
    caption = "oracle uses the true mask: an upper bound, never a result"
    if chosen:
        caption = f"mean*: over {', '.join(chosen)}; {caption}"
    title = Text(f"{metrics['split']}: IoU, and Dice and boundary IoU (2 %)")
    table = Table(title=title, caption=Text(caption), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("gate", "background", "mean", *(["mean*"] if chosen else []), *metrics["classes"], "Dice", "bIoU"):
        table.add_column(Text(column), justify="left" if column in ("gate", "background") else "right", no_wrap=True)
    for gate, rules in metrics["results"].items():
        for rule, figures in rules.items():
            per_class = [figure(figures["per_class"][name]["iou"]) for name in metrics["classes"]]
            means = [figure(figures[key]) for key in ("miou", *extra)]
            tail = [figure(figures[key]) for key in ("dice", "biou_0.02")]
            style = "bold" if (gate, rule) == ("predicted", "ignored") else "dim" if gate == "oracle" else ""
            table.add_row(gate, rule, *means, *per_class, *tail, style=style)
    console = Console()
    console.print(table)
    say_next(f"histoproto report {run}")
