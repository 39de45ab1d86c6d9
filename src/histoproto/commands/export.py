"""``histoproto export``."""

import json as json_text
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from histoproto.commands.next_step import say_next
from histoproto.errors import ConfigError

if TYPE_CHECKING:
    from histoproto.exporting.exported import Exported


def export(
    run: Path,
    /,
    *,
    to: Literal["onnx", "hub-folder"],
    out: Path | None = None,
    checkpoint: str = "best",
    one_view: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Make a file or folder of a trained run that works without the run, with a model card beside it.

    onnx: one file for any program with an ONNX runtime. Images in, class maps and scores out, for any batch, height and
    width; classes, colours, resolution and gate lie in its metadata. It is compared with histoproto before it appears.

    hub-folder: model.safetensors, config.json and README.md, for upload to a model hub or to hand on.
    histoproto.hub.TissueMapper.from_pretrained reads it, and its masks are bitwise those of histoproto predict.

    The card tells classes, figures (after histoproto evaluate), data, settings, how to use the model, and which licence
    follows from the weights that it was made of.

    Args:
        run: Run folder of histoproto train or histoproto segment.
        to: onnx or hub-folder.
        out: File ending in .onnx, or a new folder.
            [default: RUN/export/NAME.onnx or RUN/export/NAME, with the run's name]
        checkpoint: best or last.
        one_view: Look at each image once, not at flips and turns of it: up to eight times faster, a little less
            accurate. The card's figures follow.
        json: Print where the export is, and its licence, as JSON.

    Raises:
        ConfigError: if the ONNX file is named otherwise.
    """
    from histoproto.exporting.exported import exported

    if to == "onnx" and out is not None and out.suffix != ".onnx":
        raise ConfigError(f"--out {out}: name a file that ends in .onnx")
    model = exported(run, checkpoint, one_view=one_view)
    place = out or run / "export" / (f"{model.name}.onnx" if to == "onnx" else model.name)
    content = {"to": to, "path": str(place), **(_onnx(model, place) if to == "onnx" else _folder(model, place))}
    content |= {"licence": model.terms.name or model.terms.licence, "shareable": model.terms.shareable}
    _warn(model, run)
    if json:
        sys.stdout.write(json_text.dumps(content, indent=2) + "\n")
    else:
        _show(content)


def _onnx(model: "Exported", place: Path) -> dict[str, object]:
    from histoproto.exporting.onnx_file import STEPS, write_onnx
    from histoproto.progress import progress_bar

    with progress_bar("Tracing, writing, comparing", STEPS) as advance:
        difference = write_onnx(model, place, advance)
    return {"card": str(place.with_suffix(".md")), "largest_difference": difference}


def _folder(model: "Exported", place: Path) -> dict[str, object]:
    from histoproto.exporting.hub_folder import CARD_FILE, STEPS, frozen_weights_left_out, write_hub_folder
    from histoproto.progress import progress_bar

    with progress_bar("Writing, comparing", STEPS) as advance:
        write_hub_folder(model, place, advance)
    left_out = frozen_weights_left_out(model)
    return {"card": str(place / CARD_FILE), "left_out": left_out and left_out["source"]}


def _warn(model: "Exported", run: Path) -> None:
    """Say on standard error what the user should know before handing the model on."""
    from rich.console import Console

    console = Console(stderr=True)
    notes = [f"Note: {model.terms.sentence}"] if model.weights else []
    if isinstance(model.figures, str):
        notes.append(f"Note: {model.figures} The card gets figures after: histoproto evaluate {run}")
    for note in notes:
        console.print(note, soft_wrap=True, markup=False, highlight=False)


def _show(content: dict[str, object]) -> None:
    from rich.console import Console

    console = Console()
    difference = content.get("largest_difference")
    compared = "" if difference is None else f", at most {difference:.1g} from what histoproto computes"
    line = f"{content['path']} written{compared}; its card is {content['card']}"
    console.print(line, soft_wrap=True, markup=False, highlight=False)
    if content.get("left_out"):
        line = f"Left out, since it may not be passed on: {content['left_out']}"
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    if not content["shareable"]:
        say_next(f"keep it to yourself; use it as {content['card']} shows")
    elif content["to"] == "onnx":
        say_next(f"use it as {content['card']} shows")
    else:
        say_next(f"choose a licence in {content['card']}, then: hf upload ORGANISATION/NAME {content['path']}")
