"""What every training does around its loop: lock, record, gate, last words."""

import json as json_text
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoproto.commands.next_step import say_next
from histoproto.errors import ConfigError, RunError

if TYPE_CHECKING:
    from histoproto.contracts import LoadedWeights, TissueModel
    from histoproto.data.manifest import Study
    from histoproto.data.patches import PatchDataset
    from histoproto.presets.segment import SegmentSettings
    from histoproto.presets.settings import RunSettings
    from histoproto.runs import RunFolder
    from histoproto.training.loop import FitResult

INTERRUPTED = 130
"""Exit code of a run that was stopped by Ctrl-C or SIGTERM and can be resumed."""


def held(folder: "RunFolder") -> AbstractContextManager[None]:
    """Hold the run folder in the first of several processes, which alone writes to it."""
    from histoproto.training.launch import is_leader

    return folder.in_use() if is_leader() else nullcontext()


def begin(folder: "RunFolder", config: dict[str, Any], command: list[str] | None = None) -> None:
    """Write down, in the first of several processes, by which command a run was begun, and then its settings.

    A folder with settings holds a run, and a resumed one keeps the command that began it.

    Args:
        folder: run folder, held by this process.
        config: content of ``config.yaml``.
        command: None for the one that this process was started with.
    """
    from histoproto.training.launch import is_leader

    if is_leader():
        folder.write_record(
            {"command": command or ["histoproto", *sys.argv[1:]], "started": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        )
        folder.write_config(config)


def fit_and_record(
    folder: "RunFolder",
    settings: "RunSettings | SegmentSettings",
    study: "Study",
    first: Callable[[], dict[str, Any]],
    train: Callable[[], "FitResult"],
    holdout: "PatchDataset",
    *,
    resume: bool,
) -> dict[str, Any]:
    """Train, fit the gate, and keep the record of it.

    Args:
        folder: run folder, held by this process.
        settings: of the run.
        study: its data.
        first: makes the record of what is known before training.
        train: the loop, bound to its arguments.
        holdout: labelled patches for the gate.
        resume: whether the run was begun before.

    Raises:
        RunError: if the study has changed since the run began.
    """
    from histoproto.inference.gate import fit_gate
    from histoproto.training.launch import is_leader
    from histoproto.training.loop import ended_result
    from histoproto.wiring.runs import load_run

    begun = folder.read_record()
    record = begun if resume and "data_hash" in begun else {}
    if record and record["data_hash"] != study.data_hash():
        raise RunError(f"{study.folder} has changed since {folder.path} began; start a new run")
    if not record:
        record = first() | {name: begun[name] for name in ("command", "started") if name in begun}
        if is_leader():
            folder.write_record(record)
    # a run killed after its last step, before its gate was fitted, only needs the gate
    result = ended_result(folder, settings.training) if resume and "gate" not in record else None
    result = result or train()
    if not is_leader():
        return record | {"stopped": result.stopped}
    record |= {"stopped": result.stopped, "best_epoch": result.best_epoch, "seconds": result.seconds}
    if result.stopped != "interrupted":
        trained = load_run(folder.path).ready().model
        patches = (holdout[index] for index in range(len(holdout)))
        record["gate"] = fit_gate(trained, patches, settings.inference).to_dict()
    folder.write_record(record)
    return record


def mask_judge(settings: "RunSettings | SegmentSettings", study: "Study") -> Callable[["TissueModel"], float]:
    """Return the mIoU over the validation masks without any gate; a run chosen by it is *val-tuned*."""
    from histoproto.evaluation.of_method import HONEST, evaluate_method
    from histoproto.evaluation.split_counts import MAIN
    from histoproto.inference.gate import Gate
    from histoproto.metrics.summary import means

    records = [record for record in study.split("val") if record.mask is not None]
    if not records:
        raise ConfigError(f"{study.folder}: val has no masks to choose by; use --choose-by holdout-loss")
    side_px = settings.patch_px or max(study.split("train")[0].width_px or 1, study.split("train")[0].height_px or 1)
    anything = Gate((float("-inf"),) * len(study.taxonomy), side_px)

    def judge(model: "TissueModel") -> float:
        found = evaluate_method(
            model, records, study.taxonomy, anything, {MAIN: settings.inference}, lambda _result: None
        )
        return float(means(found.counts.counts[HONEST._replace(gate="none")].pooled())["miou"])

    return judge


def drawing_weights(settings: "RunSettings | SegmentSettings", training: "PatchDataset") -> list[float] | None:
    """Return how often each training patch is drawn; None where each is drawn once an epoch."""
    from histoproto.training.balance import repeat_factors

    if not settings.training.repeat_threshold:
        return None
    return repeat_factors([record.labels or () for record in training.records], settings.training.repeat_threshold)


def first_record(
    settings: "RunSettings | SegmentSettings", study: "Study", weights: "list[LoadedWeights]"
) -> dict[str, Any]:
    """Return what is known before training: command, versions, seed, data, weights."""
    from dataclasses import asdict

    from histoproto.data.summary import split_summary
    from histoproto.runs import versions

    return {
        "command": ["histoproto", *sys.argv[1:]],
        "versions": versions(),
        "seed": settings.seed,
        "data_hash": study.data_hash(),
        "mpp": _training_mpp(study),
        "splits": split_summary(study),
        "weights": [asdict(loaded) for loaded in weights],
        "choose_by": settings.training.choose_by,
        "val_tuned": settings.training.choose_by == "validation-masks",
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _training_mpp(study: "Study") -> float | None:
    """Return the median microns per pixel of the training patches; None where no patch says."""
    known = study.table.loc[study.table["split"] == "train", "mpp"].dropna()
    return float(known.median()) if len(known) else None


def report_outcome(run: Path, record: dict[str, Any], *, json: bool, verb: str) -> int:
    """Print how it ended and the next command, in the first process; return the exit code."""
    from histoproto.training.launch import is_leader

    interrupted = record["stopped"] == "interrupted"
    following = f"histoproto {verb} --resume {run}" if interrupted else f"histoproto evaluate {run}"
    if not is_leader():
        return INTERRUPTED if interrupted else 0
    if json:
        sys.stdout.write(json_text.dumps({"run": str(run), "next": following, **record}, indent=2) + "\n")
    else:
        from rich.console import Console

        console = Console()
        judged = record["best_epoch"] and record["choose_by"] != "last"
        chosen = f", best epoch {record['best_epoch']} by {record['choose_by']}" if judged else ""
        console.print(f"{run}: {record['stopped']} after {record['seconds']:.0f} s{chosen}", highlight=False)
        say_next(following)
    return INTERRUPTED if interrupted else 0
