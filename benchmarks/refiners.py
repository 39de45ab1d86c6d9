"""What each refiner changes: figures with and without it, under the predicted gate, background ignored.

usage: python benchmarks/refiners.py STUDY RUN [RUN ...] [--split test] [--mean-over CLASSES] [--sam WEIGHTS]
  STUDY  a study whose split has masks, such as histoproto data phantom makes
  RUN    trained runs; figures are means over them, changes are listed run by run as well

The affinity's parts are measured too: without features and colours it is a blur, and what a refiner gains over a blur
is what the photograph told it.
"""

import argparse
import sys
import time
from pathlib import Path
from statistics import mean

import torch

from histoproto.cams.random_walk import RandomWalkSettings
from histoproto.commands.evaluate import class_indices
from histoproto.data.manifest import PatchRecord, read_study
from histoproto.evaluation.truth import true_mask
from histoproto.images import read_rgb
from histoproto.inference.decision import decide, predicted_classes
from histoproto.inference.evidence import evidence_of
from histoproto.inference.gate import Gate
from histoproto.inference.refine import refiner_of
from histoproto.inference.sam import SamSettings
from histoproto.inference.settings import InferenceSettings
from histoproto.metrics.counts import PixelCounts, count_image
from histoproto.metrics.overlap import mean_of_present
from histoproto.metrics.summary import measures
from histoproto.wiring.runs import Run, load_run

ANY_COLOUR = 1e6
"""A width at which all colours are the same."""
Figures = dict[str, float]


def ways(sam: str | None) -> dict[str, InferenceSettings]:
    """Return what is measured, unrefined first."""
    blur = RandomWalkSettings(sharpness=0.0, edge_colour=ANY_COLOUR)
    found = {
        "none": InferenceSettings(),
        "crf": InferenceSettings(refine="crf"),
        "affinity": InferenceSettings(refine="affinity"),
        "affinity, features alone": InferenceSettings(
            refine="affinity", affinity=RandomWalkSettings(edge_colour=ANY_COLOUR)
        ),
        "affinity, colours alone": InferenceSettings(refine="affinity", affinity=RandomWalkSettings(sharpness=0.0)),
        "neither: a blur": InferenceSettings(refine="affinity", affinity=blur),
        "superpixels": InferenceSettings(refine="superpixels"),
    }
    return found if sam is None else found | {"sam": InferenceSettings(refine="sam", sam=SamSettings(sam))}


def measure(
    run: Run, records: list[PatchRecord], ways: dict[str, InferenceSettings], mean_over: str | None
) -> dict[str, Figures]:
    """Return mIoU, boundary IoU and milliseconds of CPU time per image of each way."""
    settings = run.settings.inference
    gate = Gate.from_record(run.folder.read_record(), str(run.folder.path))
    counts: dict[str, list[PixelCounts]] = {name: [] for name in ways}
    seconds = dict.fromkeys(ways, 0.0)
    for record in records:
        rgb = read_rgb(record.path)
        truth = torch.from_numpy(true_mask(record, rgb.shape[:2], run.taxonomy)).long()
        evidence = evidence_of(run.model, rgb, gate.window_px, settings)
        present = predicted_classes(evidence, gate)
        for name, way in ways.items():
            began = time.process_time()
            refine = refiner_of(run.model, rgb, way)
            mask = decide(evidence.maps, present, None, refine).mask.long()
            seconds[name] += time.process_time() - began
            counts[name].append(count_image(mask, truth, len(run.taxonomy), "ignored"))
    chosen = class_indices(mean_over, run.taxonomy.classes) or list(range(len(run.taxonomy)))
    return {name: _figures(counts[name], chosen) | {"ms": 1000 * seconds[name] / len(records)} for name in ways}


def _figures(images: list[PixelCounts], classes: list[int]) -> Figures:
    found = measures(PixelCounts.stacked(images).pooled())
    return {name: float(mean_of_present(found[name][classes])) for name in ("iou", "biou_0.02")}


def show(by_run: list[dict[str, Figures]]) -> None:
    """Print the table in Markdown."""
    out = sys.stdout
    out.write("| refiner | mIoU | change | by run | bIoU 2 % | change | by run | CPU ms per image |\n")
    out.write(f"|{'---|' * 8}\n")
    for name in by_run[0]:
        cells = [name]
        for measure_name in ("iou", "biou_0.02"):
            values = [figures[name][measure_name] for figures in by_run]
            changes = [figures[name][measure_name] - figures["none"][measure_name] for figures in by_run]
            cells.append(f"{mean(values):.3f}")
            cells += ["", ""] if name == "none" else [_signed(mean(changes)), " ".join(map(_signed, changes))]
        cells.append(f"{mean(figures[name]['ms'] for figures in by_run):.0f}")
        out.write(f"| {' | '.join(cells)} |\n")


def _signed(change: float) -> str:
    return f"{change:+.3f}"


def main() -> None:
    """Measure the runs named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--split", default="test")
    parser.add_argument("--mean-over")
    parser.add_argument("--sam")
    given = parser.parse_args()
    records = [record for record in read_study(given.study).split(given.split) if record.mask is not None]
    show([measure(load_run(run), records, ways(given.sam), given.mean_over) for run in given.runs])


main()
