"""``histoproto predict``."""

import json as json_text
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from histoproto.commands.next_step import say_next
from histoproto.commands.predict_input import PredictOptions, Predictor
from histoproto.errors import DataError, HistoprotoError
from histoproto.images import IMAGE_SUFFIXES

SLIDE_SUFFIXES = (".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".svslide", ".vms", ".vmu")
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
    from histoproto.naming import unique_names

    files = _files(inputs)
    predictor = Predictor(PredictOptions(run, checkpoint, assume_mpp))
    done: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for file, name in zip(files, unique_names(files), strict=True):
        try:
            done[name] = predictor(file, out / name)
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
