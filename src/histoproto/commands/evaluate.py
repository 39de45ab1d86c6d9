"""``histoproto evaluate``."""

import json as json_text
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from histoproto.commands.next_step import say_next
from histoproto.errors import ConfigError, DataError, RunError

if TYPE_CHECKING:
    from histoproto.data.manifest import PatchRecord, Study
    from histoproto.evaluation.comparison import EvaluatedRun


def evaluate(
    source: Path,
    /,
    *,
    split: str = "test",
    study: Path | None = None,
    checkpoint: str = "best",
    refine: Literal["none", "crf", "affinity", "superpixels", "sam"] | None = None,
    refine_weights: str | None = None,
    precision: Literal["bf16", "fp32"] | None = None,
    mean_over: str | None = None,
    compare: Annotated[list[Path] | None, Parameter(consume_multiple=True, negative="")] = None,
    run: Path | None = None,
    name: str | None = None,
    gate: Literal["unknown", "predicted", "oracle", "none"] = "unknown",
    values: str | None = None,
    white_value: int | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Compare masks with true masks: a run's, or those that any other program has made.

    A run is evaluated under every gate and background rule side by side. Gates say which classes may appear in a
    mask: *predicted* by the model itself (the honest row), *oracle* the classes of the true mask (never a
    result), *none* all of them. Background *ignored* drops pixels of true background; *counted* makes a class
    predicted there a false positive. Intervals hold the true figure in about 95 of 100 samples of slides or patients.

    Masks of another program: histoproto evaluate MASKS --study STUDY --run runs/theirs, each mask named like its image.

    Is one method better? histoproto evaluate runs/lpd-0 --compare runs/lpd-1 runs/cam-0 runs/cam-1 evaluates the
    first and tests it against the others on the same images; runs named alike up to a number are seeds of one method.

    Writes eval/ into the run folder: metrics.json, images.csv, groups.csv, counts.parquet, masks, confidences.

    Args:
        source: Run folder of histoproto train, or a folder of predicted masks.
        split: Split of the study that has masks.
        study: Another study of the same classes; needed for a folder of masks.
            [default: the one trained on]
        checkpoint: best or last.
        refine: Let masks follow the photograph's edges, by a dense CRF (crf), a random walk between places that look
            alike to the model (affinity), votes in superpixels, or votes in masks of a Segment Anything network (sam);
            the figure without it stands below.
            [default: as the run is set]
        refine_weights: That network: a folder, or hf:org/name@revision, in transformers' format.
        precision: Arithmetic of the network: fp32, or bf16, which GPUs and some CPUs compute faster.
            [default: as the run is set]
        mean_over: Classes to average in an extra column, for example tumour,stroma.
        compare: Evaluated runs to compare with, on the same images.
        run: Folder that receives the figures of a folder of masks; becomes a run folder for report and --compare.
        name: Name of the method that made the masks.
            [default: that of the folder]
        gate: How those who made the masks chose the classes that may appear in them.
        values: Value of each class in the masks, for example 1,2,3,4.
            [default: 0,1,2, ... in the order of the study]
        white_value: Value of background in the masks.
        json: Print the metrics as JSON.
    """
    from histoproto.commands.evaluate_table import show_comparison, show_figures
    from histoproto.runs import RunFolder

    others = _evaluated(source if run is None else run, compare or [], split)
    if RunFolder(source).config_file.is_file():
        from histoproto.commands.evaluate_run import evaluate_run
        from histoproto.wiring.runs import load_run

        foreign_gate = None if gate == "unknown" else gate
        options = {
            "--run": run,
            "--name": name,
            "--gate": foreign_gate,
            "--values": values,
            "--white-value": white_value,
        }
        _refuse(options, "is for a folder of masks", f"{source} is a run")
        target = source
        trained = load_run(source, checkpoint).refined(refine, refine_weights)
        metrics = evaluate_run(trained.ready(precision), split, study, checkpoint, mean_over)
    else:
        from histoproto.commands.evaluate_masks import ForeignMasks, evaluate_foreign

        if study is None or run is None:
            raise ConfigError(
                f"{source} is no run folder; to evaluate it as a folder of masks, give --study STUDY (the true masks) "
                "and --run RUN (where the figures go)"
            )
        options = {"--refine": refine, "--refine-weights": refine_weights, "--precision": precision}
        _refuse(options, "needs a run's network", f"{source} holds finished masks")
        target = run
        foreign = ForeignMasks(source, name or source.resolve().name, gate, values, white_value)
        metrics = evaluate_foreign(foreign, study, split, run, mean_over)
    comparison = _compare(target, others, mean_over) if others else None
    if json:
        sys.stdout.write(json_text.dumps({**metrics, "comparison": comparison}, indent=2) + "\n")
    else:
        show_figures(metrics)
        if comparison:
            show_comparison(comparison)
        say_next(f"histoproto report {target}")
    return 3 if metrics.get("missing") else 0


def _refuse(options: Mapping[str, object], needs: str, found: str) -> None:
    for option, value in options.items():
        if value is not None:
            raise ConfigError(f"{option} {needs}, but {found}; leave it out")


def _evaluated(target: Path, others: list[Path], split: str) -> "list[EvaluatedRun]":
    """Return the runs to compare with, before anything is computed.

    Raises:
        RunError: if one of them was not evaluated, or on another split.
    """
    from histoproto.evaluation.products import read_evaluated

    runs = []
    for path in dict.fromkeys(others):
        if path.resolve() == target.resolve():
            raise ConfigError(f"--compare {path}: that is the run itself; name other runs")
        runs.append(read_evaluated(path))
        if runs[-1].split != split:
            raise RunError(
                f"{path} was evaluated on {runs[-1].split}, not on {split}; first: "
                f"histoproto evaluate {path} --split {split}"
            )
    return runs


def _compare(target: Path, others: "list[EvaluatedRun]", mean_over: str | None) -> dict[str, Any]:
    from histoproto.atomic import write_json
    from histoproto.evaluation.comparison import compare
    from histoproto.evaluation.products import read_evaluated

    runs = [read_evaluated(target), *others]
    comparison = compare(runs, class_indices(mean_over, runs[0].classes))
    write_json(target / "eval" / "comparison.json", comparison)
    return comparison


def class_indices(mean_over: str | None, classes: tuple[str, ...]) -> list[int]:
    """Return the places of the classes that a user named with commas.

    Raises:
        ConfigError: if there is no such class.
    """
    names = [name.strip() for name in mean_over.split(",")] if mean_over else []
    for name in names:
        if name not in classes:
            raise ConfigError(f"--mean-over {name}: there is {', '.join(classes)}")
    return [classes.index(name) for name in names]


def records_with_masks(study: "Study", split: str) -> "list[PatchRecord]":
    """Return the images of a split that have true masks.

    Raises:
        DataError: if there are none.
    """
    records = [record for record in study.split(split) if record.mask is not None]
    if not records:
        raise DataError(f"{study.folder}: split {split} has no masks to compare with; name a split that has")
    return records
