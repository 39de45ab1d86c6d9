"""``histoproto data phantom``: make patches, masks and a slide to try everything with."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from histoproto.errors import ConfigError

SMALLEST_SLIDE_PX = 256


def data_phantom(
    out: Path,
    /,
    *,
    train: int = 800,
    val: int = 100,
    test: int = 100,
    size_px: int = 112,
    seed: int = 0,
    slide_px: int = 2048,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Make procedural H&E-like patches with exact masks, a slide, and a study of them, without any download.

    Args:
        out: New or empty folder; it becomes the study itself, with slides/phantom.tif beside the patches.
        train: Number of training patches.
        val: Number of validation patches.
        test: Number of test patches.
        size_px: Side of a patch in pixels of 0.5 microns.
        seed: The same numbers give the same pixels.
        slide_px: Side of the slide's finest page in pixels; 0 makes no slide.
        json: Print the summary as JSON.
    """
    from dataclasses import replace

    from histoproto.atomic import replacing_folder
    from histoproto.commands.data_import import make_study, report
    from histoproto.data.bcss_wsss import SHEET
    from histoproto.data.importing import HeldOut, candidates_by_name
    from histoproto.data.phantom import write_patches, write_slide
    from histoproto.progress import progress_bar

    if 0 < slide_px < SMALLEST_SLIDE_PX or slide_px < 0:
        raise ConfigError(f"--slide-px {slide_px}: give {SMALLEST_SLIDE_PX} or more, or 0 for no slide")
    notes = []
    with replacing_folder(out) as place:  # a killed command leaves no half study
        with progress_bar("Making patches", train + val + test) as advance:
            done = 0

            def on_progress(count: int) -> None:
                nonlocal done
                advance(count - done)
                done = count

            write_patches(place, train=train, val=val, test=test, size_px=size_px, seed=seed, on_progress=on_progress)
        if slide_px:
            slide = Path("slides") / "phantom.tif"
            with progress_bar("Making the slide", 1) as advance:
                mask = write_slide(place / slide, width_px=slide_px, height_px=slide_px, seed=seed)
                advance(1)
            notes.append(f"the slide is {out / slide}, its mask {mask.name}")
        study, division = make_study(place, SHEET.taxonomy, candidates_by_name(place, SHEET), HeldOut())
    report(replace(study, folder=out), [*notes, *division], json=json)
