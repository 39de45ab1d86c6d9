"""Seconds of a run's class maps of one tile: plain memory layout, channels-last, and compiled.

usage: python benchmarks/class_maps_speed.py RUN [--side 1024] [--repeats 5]
  RUN      run folder of histoproto train or segment

The three take turns, in single precision and in bfloat16, in the views of the run.
"""

import argparse
import copy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from histoproto.contracts import TissueModel
from histoproto.heap import keep_freed_memory
from histoproto.inference.compiled import compile_maps
from histoproto.inference.settings import Views
from histoproto.inference.views import averaged_class_maps
from histoproto.wiring.runs import load_run


def plainly_laid_out(model: TissueModel) -> TissueModel:
    """Return a copy that is shown images with one channel after the other, whatever it is given."""
    other = copy.deepcopy(model)
    class_maps = other.class_maps
    vars(other)["class_maps"] = lambda images: class_maps(images.contiguous(memory_format=torch.contiguous_format))
    return other


def seconds_of(work: Callable[[], object]) -> float:
    """Return how long a call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Time all ways, print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    keep_freed_memory()
    trained = load_run(options.run)
    views: Views = trained.settings.inference.views
    ways = {"plain": plainly_laid_out(trained.model), "channels-last": trained.model}
    ways["compiled"] = copy.deepcopy(trained.model)
    compile_maps(ways["compiled"])
    images = torch.rand(1, 3, options.side, options.side, generator=torch.Generator().manual_seed(0))
    for precision in ("fp32", "bf16"):
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            for repeat in range(options.repeats + 1):
                for name, model in ways.items():
                    taken = seconds_of(lambda model=model: averaged_class_maps(model, images, views))
                    if repeat:
                        seconds[name].append(taken)
                    elif name == "compiled":
                        sys.stdout.write(f"{precision}: compiling and the first maps took {taken:.1f} s\n")
        plain, last, compiled = (median(seconds[name]) for name in ways)
        sys.stdout.write(
            f"{precision}: plain {plain:.3f} s, channels-last {last:.3f} s ({plain / last:.2f} times faster), compiled "
            f"{compiled:.3f} s ({last / compiled:.2f} times faster again)\n"
        )


if __name__ == "__main__":
    main()
