"""What single steps towards speed gain by themselves; medians of a few repeats, taken in turns.

usage: python benchmarks/steps_apart.py

Side by side: class maps of eight patches by PBIP on MiT-B1, an image to a thread, against all threads on one after the
other. Losses: a training step with networks so small that losses take most of it, against loops over images and crops.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median

import torch
from benchmarks.speed.reference import reference_step
from benchmarks.speed.work import Work

from histoproto.backbones.small_conv import small_conv
from histoproto.contracts import Parts, Prototypes
from histoproto.encoders.random_conv import RandomEncoder
from histoproto.heap import keep_freed_memory
from histoproto.inference.evidence import evidence_of
from histoproto.inference.settings import InferenceSettings
from histoproto.presets.registry import METHODS
from histoproto.threads import side_by_side

REPEATS = 5
WIDTHS = (4, 4, 8, 8)


def side_by_side_gain() -> str:
    """Time both ways of taking images."""
    work = Work("pbip", "released", batch=8)
    model = work.model().eval()
    pictures = [(255 * picture).byte().permute(1, 2, 0).numpy() for picture in work.images()]
    settings = InferenceSettings(views="released", precision="bf16")

    def maps(rgb: object) -> object:
        return evidence_of(model, rgb, work.side_px, settings)  # type: ignore[arg-type]  # an array

    ways = {
        "side by side": lambda: list(side_by_side(maps, pictures, torch.device("cpu"))),
        "one after the other": lambda: [maps(rgb) for rgb in pictures],
    }
    return _told("images of an evaluation", ways)


def losses_gain(method: str) -> str:
    """Time a step of tiny networks with the method's losses and with those of the plain way."""
    torch.manual_seed(0)
    work = Work(method, "corrected", side_px=64)
    rows = work.classes * work.prototypes
    prototypes = Prototypes(torch.randn(rows, WIDTHS[-1]), (work.prototypes,) * work.classes)
    chosen = METHODS[method].presets["corrected"]
    model = replace(chosen.model, prototypes_per_class=work.prototypes, warmup_steps=0, max_pairs=None)  # type: ignore[call-arg]  # PBIP and LPD have it
    parts = Parts(small_conv(widths=WIDTHS)[0], work.classes, RandomEncoder(WIDTHS[-1]), None, prototypes)
    network = METHODS[method].build(parts, replace(chosen, model=model)).train()
    images, labels = work.images(), work.labels()
    ways = {
        "ours": lambda: network.training_step(images, labels, 0).loss.backward(),
        "loops": lambda: reference_step(network, images, labels).backward(),  # type: ignore[arg-type]  # PBIP or LPD
    }
    return _told(f"a step of {method} with tiny networks", ways)


def _told(what: str, ways: dict[str, Callable[[], object]]) -> str:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS + 1):
        for name, work in ways.items():
            began = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - began)
    (ours, fast), (other, slow) = ((name, median(taken[1:])) for name, taken in seconds.items())
    return f"{what}: {ours} {fast:.4f} s, {other} {slow:.4f} s, {slow / fast:.2f} times faster\n"


def main() -> None:
    """Print a line for each step."""
    keep_freed_memory()
    for line in (side_by_side_gain(), losses_gain("pbip"), losses_gain("lpd")):
        sys.stdout.write(line)


if __name__ == "__main__":
    main()
