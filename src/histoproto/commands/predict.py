"""``histoproto predict``."""

import json as json_text
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from histoproto.errors import DataError, HistoprotoError
from histoproto.images import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from histoproto.contracts import SlideReader
    from histoproto.inference.gate import Gate
    from histoproto.progress import Advance
    from histoproto.slides.pages import PagedReader
    from histoproto.wiring import Run

SLIDE_SUFFIXES = (".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".svslide", ".vms", ".vmu")
LARGEST_PX = 150_000_000
"""Pixels at the run's resolution whose maps fit into memory at once."""
OVERLAY_LONGEST_PX = 2048
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
    from histoproto.progress import progress_bar
    from histoproto.wiring import load_run

    files = _files(inputs)
    trained = load_run(run, checkpoint)
    gate = Gate.from_record(trained.folder.read_record(), str(run))
    weights = _sha256(trained.folder.checkpoint(checkpoint) / "model.safetensors")
    done: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for number, (file, name) in enumerate(zip(files, _names(files), strict=True), start=1):
        stamp = {"file": file.name, "bytes": file.stat().st_size, "checkpoint_sha256": weights}
        folder = out / name
        with progress_bar(f"{file.name} ({number} of {len(files)})", 1) as advance:
            try:
                done[name] = _finished(folder, stamp) or _predict(
                    trained, gate, file, folder, stamp, assume_mpp, advance
                )
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


def _names(files: list[Path]) -> list[str]:
    """Return one folder name per input: its stem, with its suffix where two share a stem."""
    stems = [file.stem for file in files]
    return [file.stem if stems.count(file.stem) == 1 else file.name.replace(".", "_") for file in files]


def _sha256(path: Path) -> str:
    import hashlib

    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _finished(folder: Path, stamp: dict[str, Any]) -> dict[str, Any] | None:
    """Return the areas of an input that this very checkpoint has predicted; areas.json is written last."""
    file = folder / "areas.json"
    if not file.is_file():
        return None
    content: dict[str, Any] = json_text.loads(file.read_text(encoding="utf-8"))
    return content if content.get("source") == stamp else None


def _predict(
    trained: "Run",
    gate: "Gate",
    file: Path,
    folder: Path,
    stamp: dict[str, Any],
    assume_mpp: float | None,
    advance: "Advance",
) -> dict[str, Any]:
    from histoproto.atomic import write_json
    from histoproto.contracts import Region
    from histoproto.formats.areas import class_areas
    from histoproto.formats.confidence import write_confidence
    from histoproto.formats.overlay import write_overlay
    from histoproto.inference.decision import background_of, decide, predicted_classes
    from histoproto.inference.evidence import evidence_by_tiles, evidence_of
    from histoproto.masks import write_mask
    from histoproto.slides.reader import open_image

    settings = trained.settings.inference
    reader = _at_training_mpp(open_image(file, assume_mpp=assume_mpp), trained.folder.read_record().get("mpp"))
    try:
        if reader.width_px * reader.height_px > LARGEST_PX:
            raise DataError(
                f"{file}: {reader.width_px} x {reader.height_px} px at the run's resolution is more than "
                f"{LARGEST_PX // 10**6} megapixels; cut out a region and predict that"
            )
        rgb = reader.read(Region(0, 0, reader.width_px, reader.height_px))
        if max(rgb.shape[:2]) > settings.tile_px:
            evidence = evidence_by_tiles(trained.method, reader, gate.window_px, settings, lambda _count: None)
        else:
            evidence = evidence_of(trained.method, rgb, gate.window_px, settings)
    finally:
        reader.close()
    background = background_of(rgb, evidence.maps, settings.background)
    decision = decide(evidence.maps, predicted_classes(evidence, gate), background)
    mask = decision.mask.numpy()
    write_mask(folder / "mask.png", mask, trained.taxonomy)
    write_confidence(folder / "confidence.png", decision.confidence.numpy())
    write_overlay(folder / "overlay.png", rgb, mask, trained.taxonomy)
    content = {
        "image": str(file),
        "width_px": reader.width_px,
        "height_px": reader.height_px,
        "mpp": reader.mpp,
        "areas": class_areas(mask, trained.taxonomy, reader.mpp),
        "source": stamp,
    }
    write_json(folder / "areas.json", content)
    advance(1)
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
    for file, reason in failed.items():
        console.print(f"failed: {file}: {reason}", soft_wrap=True, markup=False, highlight=False)
    console.print(f"Next: look at {out}/*/overlay.png, or: histoproto report {run}", soft_wrap=True, highlight=False)


def _cell(area: dict[str, Any]) -> str:
    share = "" if area["share"] is None else f"{area['share']:.1%}"
    return share if area["area_mm2"] is None else f"{share} ({area['area_mm2']:.3g})".strip()
