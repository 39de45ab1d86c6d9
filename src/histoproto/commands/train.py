"""``histoproto train``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from cyclopts import Parameter

from histoproto.commands.fitting import (
    begin,
    drawing_weights,
    first_record,
    fit_and_record,
    held,
    mask_judge,
    report_outcome,
)
from histoproto.errors import ConfigError, RunError

if TYPE_CHECKING:
    from histoproto.contracts import LoadedWeights, Method
    from histoproto.data.manifest import Study
    from histoproto.data.patches import PatchDataset
    from histoproto.presets.settings import RunSettings
    from histoproto.runs import RunFolder
    from histoproto.training.loop import FitResult


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
        return _resume(resume, json=json)
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
    return report_outcome(run, _start(chosen, study, run), json=json, verb="train")


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
    from histoproto.presets.changes import given_changes, merge_settings, read_changes
    from histoproto.presets.registry import preset_settings

    chosen = preset_settings(method, preset)
    if settings_file is not None:
        chosen = merge_settings(chosen, read_changes(settings_file), settings_file)
    return merge_settings(chosen, given_changes(flags), Path("command line"))


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


def _start(settings: "RunSettings", study_folder: Path, run: Path) -> dict[str, Any]:
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
    with held(folder):
        begin(folder, describe(prepared.settings, prepared.study.taxonomy, study_folder.absolute()))
        return _fit(folder, prepared, resume=False)


def _resume(run: Path, *, json: bool) -> int:
    from histoproto.data.manifest import read_study
    from histoproto.presets.changes import read_settings
    from histoproto.presets.segment import SEGMENTER
    from histoproto.runs import RunFolder
    from histoproto.taxonomy import Taxonomy

    folder = RunFolder(run)
    config = folder.read_config()
    if config.get("method") == SEGMENTER:
        from histoproto.commands.segment import segment

        return segment(resume=run, json=json)
    study = read_study(Path(config["study"]))
    if study.taxonomy != Taxonomy.from_dict(config["taxonomy"]):
        raise RunError(f"{run} was trained with other classes than {study.folder} has; start a new run")
    prepared = _prepare(read_settings(config, folder.config_file), study)
    with held(folder):
        return report_outcome(run, _fit(folder, prepared, resume=True), json=json, verb="train")


def _fit(folder: "RunFolder", prepared: _Prepared, *, resume: bool) -> dict[str, Any]:
    """Train and keep the record of it."""
    from histoproto.data.patches import collate
    from histoproto.training.loop import fit
    from histoproto.training.preparing import labelled

    settings, study = prepared.settings, prepared.study
    if not resume:
        _warn_about_warm_up(settings, len(prepared.training))
        _warn_about_random_weights(settings)

    def train() -> "FitResult":
        return fit(
            prepared.method,
            prepared.training,
            prepared.holdout,
            settings=settings.training,
            prepare=labelled(settings.augment, settings.seed),
            run=folder,
            seed=settings.seed,
            collate=collate,
            resume=resume,
            weights=drawing_weights(settings, prepared.training),
            evaluate_masks=mask_judge(settings, study) if settings.training.choose_by == "validation-masks" else None,
        )

    def first() -> dict[str, Any]:
        return first_record(settings, study, prepared.weights)

    return fit_and_record(folder, settings, study, first, train, prepared.holdout, resume=resume)


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
