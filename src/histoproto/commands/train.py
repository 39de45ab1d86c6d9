"""``histoproto train``."""

import json as json_text
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from cyclopts import Parameter

from histoproto.commands.next_step import say_next
from histoproto.errors import ConfigError, RunError

if TYPE_CHECKING:
    from histoproto.contracts import LoadedWeights, Method, TissueModel
    from histoproto.data.manifest import Study
    from histoproto.data.patches import PatchDataset
    from histoproto.presets.settings import RunSettings
    from histoproto.runs import RunFolder

INTERRUPTED = 130
"""Exit code of a run that was stopped by Ctrl-C or SIGTERM and can be resumed."""


def train(
    method: str | None = None,
    study: Path | None = None,
    *,
    run: Path | None = None,
    resume: Path | None = None,
    preset: str | None = None,
    seed: int | None = None,
    backbone: str | None = None,
    weights: str | None = None,
    encoder: str | None = None,
    encoder_weights: str | None = None,
    bank: Path | None = None,
    teacher: str | None = None,
    teacher_weights: str | None = None,
    text_encoder: str | None = None,
    prompts: str | None = None,
    prototypes: int | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    lr: float | None = None,
    patch_px: int | None = None,
    choose_by: str | None = None,
    settings: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Train a method on a study's image-level labels.

    Example: ``histoproto train lpd study --run runs/lpd --seed 7``. A killed or interrupted run goes on with
    ``histoproto train --resume runs/lpd`` and ends bitwise where it would have ended.

    Args:
        method: pbip, lpd, construct, cam, gradcam, or a method of an installed package.
        study: folder made by ``histoproto data import``.
        run: new folder for everything the run makes.
        resume: run folder to go on with; takes no other argument.
        preset: corrected (every known defect repaired), paper, or released (the authors' code).
            [default: corrected]
        seed: of weights, order of patches and augmentation. [default: 0]
        backbone: small-conv, mobilenet-v2, mit-b0 .. mit-b5, resnet-18, resnet-50, resnet-38d, transunet, conch,
            timm:MODEL or vit:MODEL.
        weights: start of the backbone: a file, a folder, hf:org/name@revision, or none.
        encoder: frozen encoder of the similarity loss: self (moving average of the backbone), bank (the one that
            made the image bank), run:RUN (backbone of an earlier run), none, or a name that
            histoproto doctor --encoders lists.
        encoder_weights: its weights, where the name alone does not say: a file, a folder, or hf:org/name@revision.
        bank: image bank that prototypes come from, made by histoproto bank; pbip needs one.
        teacher: construct learns from the relations between its pixels: any backbone with weights, self (moving average
            of the student) or none.
        teacher_weights: a file, a folder, or hf:org/name@revision.
        text_encoder: prototypes start from sentences about each class, read by this encoder.
        prompts: those sentences: a YAML file, or the name of a shipped one such as phantom. [default: the one for the
            study's classes]
        prototypes: prototypes per class; a bank brings its own number.
        epochs: passes over the training patches.
        batch: patches per step.
        lr: peak learning rate.
        patch_px: resize training patches to this side.
        choose_by: which epoch is kept as best: holdout-loss (labels alone), validation-masks (then called
            val-tuned), or last.
        settings: YAML file that changes any setting of the preset, in the form of a run's config.yaml.
        json: print the outcome as JSON on standard output.

    Returns:
        0 when trained, 130 when interrupted (resumable).
    """
    if resume is not None:
        others = (method, study, run, backbone, weights, encoder, prototypes, epochs, batch, lr, patch_px, choose_by)
        sources = (encoder_weights, bank, teacher, teacher_weights, text_encoder, prompts)
        if any(value is not None for value in (*others, *sources, preset, seed, settings)):
            raise ConfigError(
                "--resume takes the run folder alone, since the run's settings stand: "
                "histoproto train --resume runs/lpd"
            )
        return _report(*_resume(resume), json=json)
    if method is None or study is None or run is None:
        raise ConfigError("name a method, a study and a run folder: histoproto train lpd study --run runs/lpd")
    if bank is not None and prototypes is not None:
        raise ConfigError(
            "--prototypes and --bank: the bank brings its prototypes; for another number make another bank with "
            "histoproto bank --per-class"
        )
    chosen = _choose(
        method,
        preset or "corrected",
        settings,
        {
            ("seed",): seed,
            ("backbone", "name"): backbone,
            ("backbone", "weights"): weights,
            ("encoder", "name"): _absolute(encoder),
            ("encoder", "weights"): encoder_weights,
            ("prototypes", "bank"): None if bank is None else str(bank.absolute()),
            ("prototypes", "text_encoder"): text_encoder,
            ("prototypes", "prompts"): _absolute_file(prompts),
            ("teacher", "name"): teacher,
            ("teacher", "weights"): teacher_weights,
            ("model", "prototypes_per_class"): prototypes,
            ("training", "epochs"): epochs,
            ("training", "batch"): batch,
            ("training", "lr"): lr,
            ("training", "choose_by"): choose_by,
            ("patch_px",): patch_px,
        },
    )
    return _report(*_start(chosen, study, run), json=json)


def _absolute(encoder: str | None) -> str | None:
    """Return an encoder's name; the run of ``run:PATH`` by its absolute path, so that any folder can resume."""
    if encoder is None or not encoder.startswith("run:"):
        return encoder
    return f"run:{Path(encoder.removeprefix('run:')).absolute()}"


def _absolute_file(prompts: str | None) -> str | None:
    """Return a prompt file by its absolute path; names of shipped ones have no suffix and stay."""
    return str(Path(prompts).absolute()) if prompts is not None and Path(prompts).suffix else prompts


def _choose(method: str, preset: str, settings_file: Path | None, flags: dict[tuple[str, ...], Any]) -> "RunSettings":
    """Return the preset's settings, changed by the YAML file, changed by the flags that were given."""
    import yaml

    from histoproto.presets.changes import merge_settings
    from histoproto.presets.registry import preset_settings

    chosen = preset_settings(method, preset)
    if settings_file is not None:
        if not settings_file.is_file():
            raise ConfigError(f"{settings_file}: no such settings file")
        try:
            changes = yaml.safe_load(settings_file.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise ConfigError(f"{settings_file} is not valid YAML: {error}") from None
        if not isinstance(changes, dict):
            raise ConfigError(f"{settings_file} holds no settings; write them like a run's config.yaml")
        chosen = merge_settings(chosen, changes, settings_file)
    changes = {}
    for path, value in flags.items():
        if value is not None:
            inner = changes
            for part in path[:-1]:
                inner = inner.setdefault(part, {})
            inner[path[-1]] = value
    return merge_settings(chosen, changes, Path("command line"))


class _Prepared(NamedTuple):
    """What training needs, loaded before anything is written, so that a wrong name leaves nothing behind."""

    settings: "RunSettings"
    study: "Study"
    method: "Method"
    weights: "list[LoadedWeights]"
    training: "PatchDataset"
    holdout: "PatchDataset"


def _prepare(settings: "RunSettings", study: "Study") -> _Prepared:
    import torch

    from histoproto.data.patches import PatchDataset
    from histoproto.wiring.methods import build

    torch.manual_seed(settings.seed)
    method, weights, settings = build(settings, study.taxonomy)
    training = PatchDataset(study.split("train"), settings.patch_px)
    holdout = PatchDataset(study.split(study.choosing_split), settings.patch_px)
    return _Prepared(settings, study, method, weights, training, holdout)


def _start(settings: "RunSettings", study_folder: Path, run: Path) -> tuple[Path, dict[str, Any]]:
    from histoproto.data.manifest import read_study
    from histoproto.presets.changes import describe
    from histoproto.runs import RunFolder
    from histoproto.training.launch import is_leader

    folder = RunFolder(run)
    if is_leader() and folder.config_file.exists():
        raise RunError(
            f"{run} already holds a run; go on with it: histoproto train --resume {run}, or choose another folder"
        )
    prepared = _prepare(settings, read_study(study_folder))
    with _held(folder):
        if is_leader():
            folder.write_config(describe(prepared.settings, prepared.study.taxonomy, study_folder.absolute()))
        return run, _fit(folder, prepared, resume=False)


def _resume(run: Path) -> tuple[Path, dict[str, Any]]:
    from histoproto.data.manifest import read_study
    from histoproto.presets.changes import read_settings
    from histoproto.runs import RunFolder
    from histoproto.taxonomy import Taxonomy

    folder = RunFolder(run)
    config = folder.read_config()
    study = read_study(Path(config["study"]))
    if study.taxonomy != Taxonomy.from_dict(config["taxonomy"]):
        raise RunError(f"{run} was trained with other classes than {study.folder} has; start a new run")
    prepared = _prepare(read_settings(config, folder.config_file), study)
    with _held(folder):
        return run, _fit(folder, prepared, resume=True)


def _held(folder: "RunFolder") -> AbstractContextManager[None]:
    """Hold the run folder in the first of several processes, which alone writes to it."""
    from histoproto.training.launch import is_leader

    return folder.in_use() if is_leader() else nullcontext()


def _fit(folder: "RunFolder", prepared: _Prepared, *, resume: bool) -> dict[str, Any]:
    """Train and keep the record of it."""
    from histoproto.data.patches import collate
    from histoproto.inference.gate import fit_gate
    from histoproto.training.launch import is_leader
    from histoproto.training.loop import ended_result, fit
    from histoproto.training.preparing import labelled
    from histoproto.wiring.runs import load_run

    settings, study = prepared.settings, prepared.study
    record = folder.read_record() if resume else {}
    if record and record["data_hash"] != study.data_hash():
        raise RunError(f"{study.folder} has changed since {folder.path} began; start a new run")
    if not record:
        record = _first_record(settings, study, prepared.weights)
        if is_leader():
            folder.write_record(record)
    if not resume:
        _warn_about_warm_up(settings, len(prepared.training))
        _warn_about_random_weights(settings)
    # a run killed after its last step, before its gate was fitted, only needs the gate
    result = ended_result(folder, settings.training) if resume and "gate" not in record else None
    result = result or fit(
        prepared.method,
        prepared.training,
        prepared.holdout,
        settings=settings.training,
        prepare=labelled(settings.augment, settings.seed),
        run=folder,
        seed=settings.seed,
        collate=collate,
        resume=resume,
        weights=_weights(settings, prepared.training),
        evaluate_masks=_judge(settings, study) if settings.training.choose_by == "validation-masks" else None,
    )
    if not is_leader():
        return record | {"stopped": result.stopped}
    record |= {"stopped": result.stopped, "best_epoch": result.best_epoch, "seconds": result.seconds}
    if result.stopped != "interrupted":
        trained = load_run(folder.path).model
        patches = (prepared.holdout[index] for index in range(len(prepared.holdout)))
        record["gate"] = fit_gate(trained, patches, settings.inference).to_dict()
    folder.write_record(record)
    return record


def _weights(settings: "RunSettings", training: "PatchDataset") -> list[float] | None:
    """Return how often each training patch is drawn; None where each is drawn once an epoch."""
    from histoproto.training.balance import repeat_factors

    if not settings.training.repeat_threshold:
        return None
    return repeat_factors([record.labels or () for record in training.records], settings.training.repeat_threshold)


def _warn_about_warm_up(settings: "RunSettings", patches: int) -> None:
    """Say so if training ends before all terms of the loss have begun."""
    from rich.console import Console

    from histoproto.training.launch import is_leader

    steps = settings.training.epochs * max(1, patches // settings.training.batch)
    if steps <= settings.model.warmup_steps and is_leader():
        Console(stderr=True).print(
            f"Note: {steps} steps end within the warm-up of {settings.model.warmup_steps}, so only the class loss is "
            "trained; raise --epochs, or lower model.warmup_steps with --settings",
            soft_wrap=True,
            highlight=False,
        )


def _warn_about_random_weights(settings: "RunSettings") -> None:
    """Say that a paper's preset has no pretrained weights unless the user names them."""
    from rich.console import Console

    from histoproto.training.launch import is_leader

    backbone = settings.backbone
    if settings.preset != "corrected" and backbone.weights is None and is_leader():
        hint = f" (--weights hf:nvidia/{backbone.name})" if backbone.name.startswith("mit-") else " (--weights)"
        usual = f"the {settings.preset} form starts from ImageNet's{hint}"
        Console(stderr=True).print(
            f"Note: {backbone.name} starts from random weights; {usual}",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )


def _judge(settings: "RunSettings", study: "Study") -> Callable[["TissueModel"], float]:
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


def _first_record(settings: "RunSettings", study: "Study", weights: "list[LoadedWeights]") -> dict[str, Any]:
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


def _report(run: Path, record: dict[str, Any], *, json: bool) -> int:
    """Print how it ended and the next command, in the first process; return the exit code."""
    from histoproto.training.launch import is_leader

    interrupted = record["stopped"] == "interrupted"
    following = f"histoproto train --resume {run}" if interrupted else f"histoproto evaluate {run}"
    if not is_leader():
        return INTERRUPTED if interrupted else 0
    if json:
        sys.stdout.write(json_text.dumps({"run": str(run), "next": following, **record}, indent=2) + "\n")
    else:
        from rich.console import Console

        console = Console()
        chosen = f", best epoch {record['best_epoch']} by {record['choose_by']}" if record["best_epoch"] else ""
        console.print(f"{run}: {record['stopped']} after {record['seconds']:.0f} s{chosen}", highlight=False)
        say_next(following)
    return INTERRUPTED if interrupted else 0
