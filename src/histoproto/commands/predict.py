"""``histoproto predict``."""

import json as json_text
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from histoproto.commands.next_step import say_next
from histoproto.errors import DataError, HistoprotoError
from histoproto.images import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from histoproto.contracts import SlideReader
    from histoproto.inference.gate import Gate
    from histoproto.slides.pages import PagedReader
    from histoproto.wiring.runs import Run

SLIDE_SUFFIXES = (".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".svslide", ".vms", ".vmu")
LARGEST_PX = 150_000_000
"""Pixels at the run's resolution whose maps fit into memory at once."""
OUTPUTS = ("mask.png", "confidence.png", "overlay.png", "areas.json")
PARTLY_DONE = 3


def predict(
    run: Path,
    inputs: list[Path],
    /,
    *,
    out: Path,
    assume_mpp: float | None = None,
    checkpoint: str = "best",
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Segment patches, photographs and slides of any size.

    A slide is read at the resolution of the training patches, whatever its own. Large images go through overlapping
    tiles whose maps are blended. Each input gets a folder in OUT with mask.png (class indices with palette),
    confidence.png, overlay.png and areas.json. Inputs that the same checkpoint has already predicted are skipped, so
    a killed command goes on where it was.

    Args:
        run: Run folder of histoproto train.
        inputs: Images, slides, or folders of them.
        out: Folder of the results.
        assume_mpp: Microns per pixel of slides that do not say.
        checkpoint: best or last.
        json: Print the areas as JSON.

    Returns:
        0; 3 if some inputs failed, which are listed.
    """
    from histoproto.inference.gate import Gate
    from histoproto.naming import unique_names
    from histoproto.wiring.runs import load_run

    files = _files(inputs)
    trained = load_run(run, checkpoint)
    gate = Gate.from_record(trained.folder.read_record(), str(run))
    done: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for file, name in zip(files, unique_names(files), strict=True):
        stamp = _stamp(file, trained, gate, checkpoint, assume_mpp)
        try:
            done[name] = _finished(out / name, stamp) or _predict(trained, gate, file, out / name, stamp, assume_mpp)
        except HistoprotoError as error:
            if len(files) == 1:
                raise
            failed[str(file)] = str(error)
    if json:
        sys.stdout.write(json_text.dumps({"done": done, "failed": failed}, indent=2) + "\n")
    else:
        _show(done, failed, out, run)
    return PARTLY_DONE if failed else 0


def _files(inputs: list[Path]) -> list[Path]:
    """Return the images among the inputs, folders opened one level deep, in order of their names.

    Raises:
        DataError: if an input does not exist or a folder holds no image.
    """
    files = []
    for path in inputs:
        if path.is_dir():
            suffixes = (*IMAGE_SUFFIXES, *SLIDE_SUFFIXES)
            inside = sorted(f for f in path.iterdir() if f.suffix.lower() in suffixes and not f.name.startswith("."))
            if not inside:
                raise DataError(f"{path}: no images in this folder; name image files or a folder that has some")
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            raise DataError(f"{path}: no such file or folder")
    return files


def _stamp(file: Path, trained: "Run", gate: "Gate", checkpoint: str, assume_mpp: float | None) -> dict[str, Any]:
    """Return everything that a result depends on; a result with another stamp is made anew."""
    import hashlib
    from dataclasses import asdict

    state = file.stat()
    with (trained.folder.checkpoint(checkpoint) / "model.safetensors").open("rb") as handle:
        weights = hashlib.file_digest(handle, "sha256").hexdigest()
    return {
        "file": str(file.absolute()),
        "bytes": state.st_size,
        "modified_ns": state.st_mtime_ns,
        "assume_mpp": assume_mpp,
        "checkpoint_sha256": weights,
        "gate": gate.to_dict(),
        "inference": asdict(trained.settings.inference),
    }


def _finished(folder: Path, stamp: dict[str, Any]) -> dict[str, Any] | None:
    """Return the areas of an input whose results are all there and were made in the same way."""
    if not all((folder / name).is_file() for name in OUTPUTS):
        return None
    try:
        content: dict[str, Any] = json_text.loads((folder / "areas.json").read_text(encoding="utf-8"))
    except ValueError:
        return None  # damaged: make it again
    return content if content.get("source") == stamp else None


def _predict(
    trained: "Run",
    gate: "Gate",
    file: Path,
    folder: Path,
    stamp: dict[str, Any],
    assume_mpp: float | None,
) -> dict[str, Any]:
    from histoproto.atomic import write_json
    from histoproto.contracts import Region
    from histoproto.formats.areas import class_areas
    from histoproto.formats.confidence import write_confidence
    from histoproto.formats.overlay import write_overlay
    from histoproto.inference.decision import background_of, decide, predicted_classes
    from histoproto.inference.evidence import evidence_by_tiles, evidence_of, tile_count, tiling_of
    from histoproto.inference.refine import refiner_of
    from histoproto.masks import write_mask
    from histoproto.progress import progress_bar
    from histoproto.slides.reader import open_image

    settings = trained.settings.inference
    source = open_image(file, assume_mpp=assume_mpp)
    notes = _notes(source)
    reader = _at_training_mpp(source, trained.folder.read_record().get("mpp"))
    try:
        if reader.width_px * reader.height_px > LARGEST_PX:
            raise DataError(
                f"{file}: {reader.width_px} x {reader.height_px} px at the run's resolution is more than "
                f"{LARGEST_PX // 10**6} megapixels; cut out a region and predict that"
            )
        rgb = reader.read(Region(0, 0, reader.width_px, reader.height_px))
        if max(rgb.shape[:2]) > tiling_of(gate.window_px, settings).tile_px:
            with progress_bar(f"Tiles of {file.name}", tile_count(reader, gate.window_px, settings)) as advance:
                evidence = evidence_by_tiles(trained.model, reader, gate.window_px, settings, advance)
        else:
            evidence = evidence_of(trained.model, rgb, gate.window_px, settings)
    finally:
        reader.close()
    background = background_of(rgb, evidence.maps, settings.background)
    refine = refiner_of(trained.model, rgb, settings)
    decision = decide(evidence.maps, predicted_classes(evidence, gate), background, refine)
    mask = decision.mask.numpy()
    write_mask(folder / "mask.png", mask, trained.taxonomy)
    write_confidence(folder / "confidence.png", decision.confidence.numpy())
    write_overlay(folder / "overlay.png", rgb, mask, trained.taxonomy)
    content = {
        "image": str(file),
        "width_px": reader.width_px,
        "height_px": reader.height_px,
        "mpp": reader.mpp,
        "notes": notes,
        "areas": class_areas(mask, trained.taxonomy, reader.mpp),
        "source": stamp,
    }
    write_json(folder / "areas.json", content)  # last: it says that the others are complete
    return content


def _at_training_mpp(reader: "PagedReader", training_mpp: float | None) -> "SlideReader":
    """Return the image at the resolution of the training patches.

    A plain picture that does not say its resolution is taken at that of the training patches; a slide that does not
    say it is refused.
    """
    from histoproto.slides.flat import FlatReader
    from histoproto.slides.mpp import require_mpp
    from histoproto.slides.resample import at_mpp

    if isinstance(reader, FlatReader) and reader.mpp is None:
        return reader
    require_mpp(reader)
    return reader if training_mpp is None else at_mpp(reader, training_mpp)


def _notes(source: "PagedReader") -> list[str]:
    """Return what was taken for granted or changed when the image was read."""
    from histoproto.slides.flat import FlatReader

    notes = []
    if isinstance(source, FlatReader):
        if source.converted_from:
            notes.append(f"converted from {source.converted_from} to RGB")
        if source.mpp is None:
            notes.append("does not say its microns per pixel: taken at those of the training patches")
    return notes


def _show(done: dict[str, Any], failed: dict[str, str], out: Path, run: Path) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if done:
        classes = list(next(iter(done.values()))["areas"])
        table = Table(title=Text(f"{out}: share of tissue (mm2 where the size is known)"))
        for column in ("input", *classes):
            table.add_column(Text(column), justify="left" if column == "input" else "right")
        for name, content in done.items():
            cells = [_cell(content["areas"][entry]) for entry in classes]
            table.add_row(Text(name), *cells)
        console.print(table)
    by_note: dict[str, list[str]] = {}
    for name, content in done.items():
        for note in content["notes"]:
            by_note.setdefault(note, []).append(name)
    for note, names in by_note.items():
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        console.print(f"Note: {names[0]}{others}: {note}.", soft_wrap=True, markup=False, highlight=False)
    for file, reason in failed.items():
        console.print(f"failed: {file}: {reason}", soft_wrap=True, markup=False, highlight=False)
    say_next(f"look at {out}/*/overlay.png, or: histoproto report {run}")


def _cell(area: dict[str, Any]) -> str:
    share = "" if area["share"] is None else f"{area['share']:.1%}"
    return share if area["area_mm2"] is None else f"{share} ({area['area_mm2']:.3g})".strip()
