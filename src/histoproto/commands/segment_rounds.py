"""The trainings of ``histoproto segment``, one after the other."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoproto.commands.fitting import begin, drawing_weights, first_record, fit_and_record, held, mask_judge
from histoproto.errors import ConfigError, DataError, RunError

if TYPE_CHECKING:
    from histoproto.data.manifest import Study
    from histoproto.data.patches import PatchDataset
    from histoproto.data.pseudo_masks import Kept, MaskedPatchDataset
    from histoproto.presets.segment import SegmentSettings
    from histoproto.runs import RunFolder
    from histoproto.training.loop import FitResult
    from histoproto.training.mosaic import Mosaics
    from histoproto.wiring.runs import Run
    from histoproto.wiring.segmenters import BuiltSegmenter

PREVIOUS = "previous"
"""Folder of the round before, inside a run of several rounds."""
PSEUDO_MASKS = "pseudo_masks"
"""Folder of the masks that a round learns from, inside its run."""
LARGER_PX = 96
"""How much larger a second image is on which a network is tried: some take one size alone."""
MASKS_DONE = "manifest.parquet"
"""Written when all masks are there."""
MOSAIC_PATCHES = 256
"""Patches of each class that are kept in memory for mosaics."""


@dataclass(frozen=True)
class MadeMasks:
    """Pseudo masks on disk."""

    folder: Path
    source: dict[str, Any]
    """Which run and checkpoint made them, of which data, and how."""
    refiner: "list[dict[str, Any]]"
    """Records of the pretrained weights that refined them or, in an earlier round, those that they go back to."""


@dataclass(frozen=True)
class TrainingPatches:
    """Patches with masks, and what it takes to be learned from."""

    patches: "MaskedPatchDataset"
    kept: "Kept"


def check(settings: "SegmentSettings", trained: "Run") -> None:
    """Build the segmenter once, so that what cannot work says so before anything is written.

    Raises:
        ConfigError: if names are not known, parts do not fit, or the network does not take the patches.
        DataError: if mosaics cannot be composed.
        WeightsError: if weights are missing or do not fit.
    """
    from histoproto.data.manifest import read_study
    from histoproto.data.patches import PatchDataset
    from histoproto.inference.refine import check_refiner

    check_refiner(trained.model, trained.refined(settings.refine, settings.refine_weights).settings.inference)
    study = read_study(trained.study)
    patches = PatchDataset(study.split("train"), settings.patch_px)
    _try(_build(settings, study, 0), settings, patches)
    if settings.mosaics.share or settings.mosaics.pasted:
        _single_label_patches(patches, study)


def train_rounds(folder: "RunFolder", settings: "SegmentSettings", study: "Study", *, resume: bool) -> dict[str, Any]:
    """Train round after round, each in its folder, and return the record of the last.

    Args:
        folder: run folder, held by this process, with its settings written.
        settings: of the run.
        study: its data.
        resume: whether the run was begun before; rounds that are finished stay.

    Raises:
        RunError: if the study's classes or data are others than at the beginning, or the source is gone.
    """
    teacher = Path(settings.source)
    if settings.rounds > 1:
        teacher = folder.path / PREVIOUS
        command = folder.read_record().get("command")
        record = _previous(teacher, replace(settings, rounds=settings.rounds - 1), study, command)
        if record["stopped"] == "interrupted":
            return record
    return _round(folder, settings, study, teacher, resume=resume)


def _previous(path: Path, settings: "SegmentSettings", study: "Study", command: list[str] | None) -> dict[str, Any]:
    """Train the round before, unless it is there already; the command that began the run began it, too."""
    from histoproto.presets.changes import describe
    from histoproto.runs import RunFolder

    folder = RunFolder(path)
    begun = folder.config_file.exists()
    if begun and "gate" in folder.read_record():
        return folder.read_record()
    with held(folder):
        if not begun:
            begin(folder, describe(settings, study.taxonomy, study.folder.absolute()), command)
        record = train_rounds(folder, settings, study, resume=begun)
    while record["stopped"] != "interrupted" and "gate" not in folder.read_record():
        time.sleep(1)  # the first of several processes fits the gate
    return record


def _round(
    folder: "RunFolder", settings: "SegmentSettings", study: "Study", teacher: Path, *, resume: bool
) -> dict[str, Any]:
    from histoproto.data.patches import PatchDataset, collate
    from histoproto.data.pseudo_masks import collate_masked
    from histoproto.runs import RunFolder
    from histoproto.training.loop import fit
    from histoproto.training.preparing import masked

    patches = PatchDataset(study.split("train"), settings.patch_px)
    holdout = PatchDataset(study.split(study.choosing_split), settings.patch_px)
    made = _pseudo_masks(folder, settings, study, teacher)
    training = _masked_patches(patches, made, settings, study)
    if settings.keep < 1 and not resume:
        _say_kept(training.kept, study)
    steps = settings.training.epochs * max(1, len(patches) // settings.training.batch)
    built = _build(settings, study, round(settings.model.relabel_after * steps))

    def train() -> "FitResult":
        return fit(
            built.model,
            training.patches,
            holdout,
            settings=settings.training,
            prepare=masked(settings.augment, settings.seed, _mosaics(patches, settings, study)),
            run=folder,
            seed=settings.seed,
            collate=collate_masked,
            holdout_collate=collate,
            resume=resume,
            weights=drawing_weights(settings, patches),
            evaluate_masks=mask_judge(settings, study) if settings.training.choose_by == "validation-masks" else None,
        )

    def first() -> dict[str, Any]:
        record = first_record(settings, study, built.weights)
        record["val_tuned"] |= any(
            RunFolder(run).read_record().get("val_tuned") for run in _teachers(settings, teacher)
        )
        record["weights"] += made.refiner
        return record | {"pseudo_masks": {**made.source, **_told(training.kept, study)}}

    return fit_and_record(folder, settings, study, first, train, holdout, resume=resume)


def _build(settings: "SegmentSettings", study: "Study", relabel_from: int) -> "BuiltSegmenter":
    import torch

    from histoproto.wiring.segmenters import build_segmenter

    torch.manual_seed(settings.seed)
    return build_segmenter(settings, study.taxonomy, relabel_from)


def _try(built: "BuiltSegmenter", settings: "SegmentSettings", patches: "PatchDataset") -> None:
    """Show the network a patch, and a larger image, as prediction will."""
    import torch
    from torch.nn.functional import pad

    image = patches[0].image[None].float() / 255
    try:
        with torch.inference_mode():
            built.model.eval().class_maps(image)
            built.model.class_maps(pad(image, (0, LARGER_PX, 0, LARGER_PX)))
    except (RuntimeError, ValueError, AssertionError) as error:  # timm asserts sizes
        height, width = image.shape[-2:]
        raise ConfigError(
            f"{settings.model.arch} on {settings.backbone.name} does not take patches of {width} x {height} px and "
            f"larger images, as prediction needs ({' '.join(str(error).split())[:200]}); choose another --arch or "
            "--encoder"
        ) from None


def _teachers(settings: "SegmentSettings", teacher: Path) -> list[Path]:
    """Return the runs that this one goes back to: who made its masks, and whose weights it starts from."""
    from histoproto.wiring.encoders import FROM_RUN

    weights = settings.backbone.weights or ""
    return [teacher, *([Path(weights.removeprefix(FROM_RUN))] if weights.startswith(FROM_RUN) else [])]


def _pseudo_masks(folder: "RunFolder", settings: "SegmentSettings", study: "Study", teacher: Path) -> MadeMasks:
    """Make the masks of the training patches, or finish making them."""
    from histoproto.commands.make_masks import read_source, source_of, write_masks
    from histoproto.training.launch import is_leader
    from histoproto.wiring.runs import load_run

    trained = load_run(teacher)
    if trained.taxonomy.classes != study.taxonomy.classes:
        raise RunError(
            f"{teacher} knows {', '.join(trained.taxonomy.classes)}, but {study.folder} has "
            f"{', '.join(study.taxonomy.classes)}; pseudo masks of other classes cannot teach it"
        )
    first = teacher == Path(settings.source)
    trained = trained.refined(settings.refine, settings.refine_weights) if first else trained.refined("none")
    # whatever the source's preset says: what class maps call unlikely is tissue that nobody has learned yet
    inference = replace(trained.settings.inference, background="white")
    trained = trained._replace(settings=replace(trained.settings, inference=inference))
    place, source = folder.path / PSEUDO_MASKS, source_of(trained, study)
    begun = read_source(place)
    if begun is not None and begun != source:
        changed = ", ".join(name for name in source if source[name] != begun.get(name))
        raise RunError(
            f"the pseudo masks in {place} were made from another {changed} than {teacher} has now; start a new run"
        )
    if is_leader():
        write_masks(trained.ready(), study, "train", place)
    while not (place / MASKS_DONE).exists():
        time.sleep(1)  # in the other processes of one training
    return MadeMasks(place, source, _refiner(trained, teacher, first=first))


def _refiner(trained: "Run", teacher: Path, *, first: bool) -> list[dict[str, Any]]:
    """Return the records of a refiner's weights; later rounds have them from the round before."""
    from dataclasses import asdict

    from histoproto.inference.refine import refiner_weights
    from histoproto.runs import RunFolder

    if not first:
        return list(RunFolder(teacher).read_record()["weights"][1:])  # the first is the encoder's start
    loaded = refiner_weights(trained.settings.inference)
    return [asdict(loaded)] if loaded else []


def _masked_patches(
    patches: "PatchDataset", made: MadeMasks, settings: "SegmentSettings", study: "Study"
) -> TrainingPatches:
    from histoproto.data.pseudo_masks import MaskedPatchDataset, find_thresholds, read_mask_files
    from histoproto.progress import progress_bar

    files = read_mask_files(made.folder, patches.records)
    with progress_bar("Reading pseudo masks", len(patches)) as advance:
        kept = find_thresholds(patches.records, files, study.taxonomy, settings.keep, advance)
    return TrainingPatches(MaskedPatchDataset(patches, files, study.taxonomy, kept.least), kept)


def _told(kept: "Kept", study: "Study") -> dict[str, Any]:
    """Return for the record which pixels are learned from, class by class."""
    classes = study.taxonomy.classes
    return {
        "least_confidence": dict(zip(classes, kept.least, strict=True)),
        "kept": {name: round(share, 4) for name, share in zip(classes, kept.shares, strict=True)},
    }


def _say_kept(kept: "Kept", study: "Study") -> None:
    """Say what stays, since it may be more than was asked for."""
    from rich.console import Console

    from histoproto.training.launch import is_leader

    if is_leader():
        shares = ", ".join(
            f"{name} {share:.0%}" for name, share in zip(study.taxonomy.classes, kept.shares, strict=True)
        )
        Console(stderr=True).print(
            f"Learning from {shares} of the pixels of pseudo masks; equally sure ones stay together",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )


def _mosaics(patches: "PatchDataset", settings: "SegmentSettings", study: "Study") -> "Mosaics | None":
    import torch

    from histoproto.training.mosaic import MosaicBank, Mosaics
    from histoproto.training.seeds import MOSAIC, derive_seed

    if not settings.mosaics.share and not settings.mosaics.pasted:
        return None
    places = _single_label_patches(patches, study)
    bank = MosaicBank(
        torch.stack([patches[place].image for place in places]),
        tuple((patches.records[place].labels or ()).index(1) for place in places),
        tuple(patches.records[place].group for place in places),
    )
    return Mosaics(bank, settings.mosaics, settings.augment, derive_seed(settings.seed, MOSAIC))


def _single_label_patches(patches: "PatchDataset", study: "Study") -> list[int]:
    """Return patches with one label, evenly drawn where a class has too many to keep in memory.

    Raises:
        DataError: if they do not show two classes at least.
    """
    found: dict[int, list[int]] = {}
    for place, record in enumerate(patches.records):
        labels = record.labels or ()
        if sum(labels) == 1:
            found.setdefault(labels.index(1), []).append(place)
    if len(found) < 2:
        shown = ", ".join(study.taxonomy.classes[index] for index in found) or "no class"
        raise DataError(
            f"mosaics are composed of patches with a single label of at least two classes, but in {study.folder} such "
            f"patches show {shown}; train without them: --mosaics 0"
        )
    drawn = [places[:: -(-len(places) // MOSAIC_PATCHES)] for places in found.values()]
    return sorted(place for places in drawn for place in places)
