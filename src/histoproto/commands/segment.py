"""``histoproto segment``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from histoproto.commands.fitting import begin, held, report_outcome
from histoproto.errors import ConfigError, RunError

if TYPE_CHECKING:
    from histoproto.presets.segment import SegmentSettings
    from histoproto.wiring.runs import Run


def segment(
    source: Path | None = None,
    *,
    run: Path | None = None,
    resume: Path | None = None,
    arch: str | None = None,
    encoder: str | None = None,
    weights: str | None = None,
    loss: Literal["ce", "ce-dice", "oeem", "symmetric-ce", "generalised-ce"] | None = None,
    refine: Literal["none", "crf", "affinity", "superpixels", "sam"] | None = None,
    refine_weights: str | None = None,
    keep: float | None = None,
    mosaics: float | None = None,
    relabel: float | None = None,
    rounds: int | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    lr: float | None = None,
    seed: int | None = None,
    settings: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Train a segmenter on the pseudo masks of a run: the second stage.

    Example: ``histoproto segment runs/lpd --run runs/lpd-seg``. Makes the pseudo masks of the training patches first,
    from class maps and image-level labels, and then a network that sees details which class maps blur. The new run
    folder works with every other command. A killed or interrupted run goes on with
    ``histoproto segment --resume runs/lpd-seg`` and ends bitwise where it would have ended.

    Args:
        source: Run folder of histoproto train, or of an earlier histoproto segment.
        run: New folder for everything that the second stage makes.
        resume: Run folder to go on with; takes no other argument.
        arch: unet, unetplusplus, manet, linknet, fpn, pspnet, pan, deeplabv3, deeplabv3plus, upernet, segformer, dpt
            (segmentation-models-pytorch), or deeplab-v2. [default: unet]
        encoder: run (the source's backbone), smp: and any encoder of segmentation-models-pytorch such as smp:resnet50,
            or a backbone as for histoproto train. [default: run]
        weights: Start of the encoder: a file, a folder, hf:org/name@revision, or none; with --encoder run only trained,
            what the source has learned. [default: none; with --encoder run the pretrained weights that the source
            started from, or what it has learned if there were none]
        loss: ce (cross-entropy), ce-dice, or one that forgives wrong pseudo labels: oeem (easy pixels count most),
            symmetric-ce, generalised-ce. [default: ce]
        refine: What the pseudo masks are refined by before training, as in histoproto masks. [default: as the source
            is set]
        refine_weights: Weights for --refine sam: a folder, or hf:org/name@revision.
        keep: Share of each class's pixels to learn from, the most confident ones. The section "What confidence is
            worth" of the source's report shows what this gains. [default: 1]
        mosaics: Share of training images that are composed of patches with a single label, whose masks are known.
        relabel: Confidence from which the moving average of the network changes a pixel's class while training.
        rounds: Trainings in a row, each on the masks of the one before. [default: 1]
        epochs: Passes over the training patches.
        batch: Patches per step.
        lr: Peak learning rate.
        seed: Of weights, order, augmentation and mosaics. [default: 0]
        settings: YAML file that changes any setting, in the form of a run's config.yaml.
        json: Print the outcome as JSON on standard output.

    Returns:
        0 when trained, 130 when interrupted (resumable).
    """
    flags: dict[tuple[str, ...], Any] = {
        ("model", "arch"): arch,
        ("model", "loss"): loss,
        ("model", "relabel"): relabel,
        ("backbone", "name"): encoder,
        ("backbone", "weights"): weights,
        ("mosaics", "share"): mosaics,
        ("training", "epochs"): epochs,
        ("training", "batch"): batch,
        ("training", "lr"): lr,
        ("refine",): refine,
        ("refine_weights",): refine_weights,
        ("keep",): keep,
        ("rounds",): rounds,
        ("seed",): seed,
    }
    if resume is not None:
        if any(value is not None for value in (source, run, settings, *flags.values())):
            raise ConfigError(
                "--resume takes the run folder alone, since the run's settings stand: "
                "histoproto segment --resume runs/lpd-seg"
            )
        return report_outcome(resume, _resume(resume), json=json, verb="segment")
    if source is None or run is None:
        raise ConfigError("name a run and a new folder: histoproto segment runs/lpd --run runs/lpd-seg")
    return report_outcome(run, _start(source, run, settings, flags), json=json, verb="segment")


def _start(source: Path, run: Path, file: Path | None, flags: dict[tuple[str, ...], Any]) -> dict[str, Any]:
    """Settle all settings, write them down, and train."""
    from histoproto.commands.segment_rounds import check, train_rounds
    from histoproto.data.manifest import read_study
    from histoproto.presets.changes import describe
    from histoproto.runs import RunFolder
    from histoproto.training.launch import is_leader
    from histoproto.wiring.runs import load_run

    folder = RunFolder(run)
    if is_leader() and folder.config_file.exists():
        raise RunError(
            f"{run} already holds a run; go on with it: histoproto segment --resume {run}, or choose another folder"
        )
    trained = load_run(source)
    settings = _settled(trained, file, flags)
    check(settings, trained)
    _warn_about_random_weights(settings)
    with held(folder):
        begin(folder, describe(settings, trained.taxonomy, trained.study))
        return train_rounds(folder, settings, read_study(trained.study), resume=False)


def _warn_about_random_weights(settings: "SegmentSettings") -> None:
    """Say that an encoder starts from nothing unless it was given weights."""
    from rich.console import Console

    from histoproto.training.launch import is_leader

    if settings.backbone.weights in (None, "none") and is_leader():
        Console(stderr=True).print(
            f"Note: {settings.backbone.name} starts from random weights; name some with --weights, or take the "
            "source's backbone with --encoder run",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )


def _settled(trained: "Run", file: Path | None, flags: dict[tuple[str, ...], Any]) -> "SegmentSettings":
    """Return the default settings, changed by the YAML file, changed by the flags that were given."""
    from dataclasses import replace

    from histoproto.presets.changes import given_changes, merge_segment_settings, read_changes
    from histoproto.presets.segment import RUN, TRAINED, SegmentSettings
    from histoproto.presets.settings import BackboneSettings
    from histoproto.wiring.segmenters import own_backbone

    own = trained.settings
    settings = SegmentSettings(
        source=str(trained.folder.path.absolute()),
        refine=own.inference.refine,
        patch_px=own.patch_px,
        inference=replace(own.inference, refine="none", background="white"),
    )
    if file is not None:
        changes = read_changes(file)
        if changes.pop("source", settings.source) != settings.source:
            raise ConfigError(f"{file} names another source than {trained.folder.path}; leave source out of it")
        settings = merge_segment_settings(settings, changes, file)
    settings = merge_segment_settings(settings, given_changes(flags), Path("command line"))
    if settings.backbone.name != RUN:
        if settings.backbone.weights == TRAINED:
            raise ConfigError(
                f"--weights {TRAINED} is what the source has learned and goes with --encoder run; for "
                f"{settings.backbone.name} give a file, a folder, hf:org/name@revision, or none"
            )
        return settings
    zoom, weights = settings.backbone.zoom, settings.backbone.weights
    if weights not in (None, TRAINED):
        raise ConfigError(
            f"encoder run starts from the source's weights, so it cannot start from {weights}; leave --weights out, "
            f"write --weights {TRAINED} for what the source has learned, or name another --encoder"
        )
    if settings.backbone != BackboneSettings(RUN, weights, zoom=zoom):
        raise ConfigError(
            "encoder run is the source's backbone as it is set there, of which only zoom can be changed; name another "
            "--encoder, or leave the other settings of backbone out"
        )
    if weights is not None and isinstance(own, SegmentSettings):
        raise ConfigError(
            f"{trained.folder.path} is a segmenter, and every round starts from the weights that the first one started "
            f"from; leave --weights {TRAINED} out"
        )
    backbone = own_backbone(trained, trained=weights is not None)
    return replace(settings, backbone=backbone if zoom == 1 else replace(backbone, zoom=zoom))


def _resume(run: Path) -> dict[str, Any]:
    from histoproto.commands.segment_rounds import train_rounds
    from histoproto.data.manifest import read_study
    from histoproto.presets.changes import read_any_settings
    from histoproto.presets.segment import SegmentSettings
    from histoproto.runs import RunFolder

    folder = RunFolder(run)
    config = folder.read_config()
    settings = read_any_settings(config, folder.config_file)
    if not isinstance(settings, SegmentSettings):
        raise RunError(f"{run} is a run of the first stage; go on with: histoproto train --resume {run}")
    with held(folder):
        return train_rounds(folder, settings, read_study(Path(config["study"])), resume=True)
