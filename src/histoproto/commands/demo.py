"""``histoproto demo``."""

import shutil
import time
from pathlib import Path
from typing import Annotated, NamedTuple

from cyclopts import Parameter

from histoproto.commands.next_step import say_next, without_next_steps
from histoproto.errors import DataError


class DemoSize(NamedTuple):
    """How much the demo does."""

    train: int
    val: int
    test: int
    slide_px: int
    epochs: int
    segment_epochs: int


FULL = DemoSize(train=640, val=64, test=64, slide_px=1536, epochs=18, segment_epochs=10)
TINY = DemoSize(train=96, val=24, test=24, slide_px=768, epochs=2, segment_epochs=1)
"""Runs the whole road in a minute; too short to learn much."""

PATCH_PX = 112
MOSAICS = 0.5
"""Share of the segmenter's training images that are composed of single-tissue patches."""


def demo(
    *,
    out: Path = Path("demo"),
    seed: int = 0,
    tiny: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Go the whole road on tissue that the program draws itself: no data, no weights, no network needed.

    Draws labelled patches and a slide, trains LPD on the labels alone, makes masks of its training patches, trains a
    segmenter on these, compares both with the truth, predicts the slide and writes report.html. About five minutes on
    two CPU cores.

    Args:
        out: New or empty folder.
        seed: Of tissue, weights and order.
        tiny: A minute instead of five; shows the road, not the quality.
    """
    from rich.console import Console

    from histoproto.commands.data_check import data_check
    from histoproto.commands.data_phantom import data_phantom
    from histoproto.commands.evaluate import evaluate
    from histoproto.commands.predict import predict
    from histoproto.commands.report import report
    from histoproto.commands.segment import segment
    from histoproto.commands.train import train

    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out} is not empty; remove it or choose another folder with --out")
    size = TINY if tiny else FULL
    study, run, segmenter = out / "study", out / "run", out / "segmenter"
    console, began = Console(), time.monotonic()

    def say(step: str) -> None:
        console.rule(f"[bold]{step}[/bold]  ({time.monotonic() - began:.0f} s)", align="left")

    with without_next_steps():
        say("1/7 Drawing labelled patches and a slide")
        data_phantom(
            study,
            train=size.train,
            val=size.val,
            test=size.test,
            size_px=PATCH_PX,
            seed=seed,
            slide_px=size.slide_px,
        )
        say("2/7 Checking the data")
        data_check(study)
        say("3/7 Training LPD on image-level labels")
        train("lpd", study, run=run, seed=seed, epochs=size.epochs)
        say("4/7 Training a segmenter on the masks that LPD makes")
        segment(run, run=segmenter, seed=seed, epochs=size.segment_epochs, mosaics=MOSAICS)
        say("5/7 Comparing both with the truth")
        evaluate(run, split="test")
        evaluate(segmenter, split="test")
        say("6/7 Predicting a slide")
        predict(segmenter, [study / "slides" / "phantom.tif"], out=segmenter / "predictions")
        say("7/7 Report")
        report(run)
        report(segmenter, compare=[run], out=out / "report.html")
    shutil.copyfile(segmenter / "eval" / "metrics.json", out / "metrics.json")
    console.print(
        f"Done in {time.monotonic() - began:.0f} s. Look at {out / 'report.html'}; figures in {out / 'metrics.json'}",
        soft_wrap=True,
        highlight=False,
    )
    say_next("your own patches, with histoproto data import --help")
