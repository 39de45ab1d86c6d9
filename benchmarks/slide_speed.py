"""Tiles per second of predicting a slide, as a share of what the bare network computes on the same batches.

usage: python benchmarks/slide_speed.py RUN FOLDER [--tiles 4] [--repeats 3] [--json FILE]
  RUN      run folder of histoproto train or segment
  FOLDER   keeps the slide that is drawn for it: JPEG tiles, one page, tissue all over

Bare: the network's class maps in all views of the run, on tiles that lie in memory, batched as prediction batches them.
Map: reading, computing, blending, deciding and writing the slide's maps. All: the outputs for other programs as well.
Bare and map take turns.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import tifffile
import torch

from histoproto.commands.predict_slide import predict_slide
from histoproto.contracts import Region
from histoproto.data.phantom import write_slide
from histoproto.heap import keep_freed_memory
from histoproto.inference.gate import Gate
from histoproto.inference.slide import SlidePrediction
from histoproto.inference.views import averaged_class_maps
from histoproto.slides.canvas import canvas
from histoproto.slides.reader import open_image
from histoproto.slides.resample import at_mpp
from histoproto.wiring.runs import load_run

DRAWN_PX = 1024


def drawn_slide(folder: Path, side_px: int, mpp: float) -> Path:
    """Return a slide whose squares all show one drawn piece of tissue."""
    path = folder / f"slide-{side_px}.tif"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_slide(folder / "piece.tif", width_px=DRAWN_PX, height_px=DRAWN_PX, seed=3)
        piece = tifffile.imread(folder / "piece.tif", key=0)
        piece = np.pad(piece[200:800, 200:800], ((0, 600), (0, 600), (0, 0)), mode="symmetric")
        rgb = np.tile(piece, (-(-side_px // 1200), -(-side_px // 1200), 1))[:side_px, :side_px]
        tifffile.imwrite(
            path,
            rgb,
            photometric="rgb",
            tile=(256, 256),
            compression="jpeg",
            resolution=(1e4 / mpp, 1e4 / mpp),
            resolutionunit=3,
        )
    return path


def main() -> None:
    """Time both, print the share."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tiles", type=int, default=4, help="tiles along a side of the slide")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    keep_freed_memory()  # as the command does
    trained = load_run(options.run)
    record = trained.folder.read_record()
    gate, settings = Gate.from_record(record, str(options.run)), trained.settings.inference
    side = settings.tile_px + (options.tiles - 1) * (settings.tile_px - settings.overlap_px)
    source = open_image(drawn_slide(options.folder, side, record["mpp"]))
    reader = at_mpp(source, record["mpp"])
    tile = settings.tile_px
    read = reader.read(Region(0, 0, tile, tile)).transpose(2, 0, 1).copy()
    batch = torch.from_numpy(np.stack([read] * settings.batch)).float() / 255

    bare, mapped = [], []
    prediction = SlidePrediction(trained.model, reader, gate, settings)
    for _ in range(options.repeats + 1):
        start = time.monotonic()
        with torch.inference_mode():
            for _ in range(0, prediction.tiles, settings.batch):
                averaged_class_maps(trained.model, batch, settings.views)
        bare.append(time.monotonic() - start)
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
            classes = len(trained.taxonomy)
            with canvas(Path(folder) / "maps", reader.height_px, reader.width_px, classes) as maps:
                maps.write_all(prediction.blocks(lambda _count: None))
        mapped.append(time.monotonic() - start)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        predict_slide(trained, gate, source, reader, None, Path(folder))
    everything = time.monotonic() - start
    share = [one / other for one, other in zip(bare[1:], mapped[1:], strict=True)]  # the first is a warm-up
    figures = {
        "tiles": prediction.tiles,
        "views": settings.views,
        "threads": torch.get_num_threads(),
        "bare_tiles_per_s": round(prediction.tiles / median(bare[1:]), 3),
        "map_tiles_per_s": round(prediction.tiles / median(mapped[1:]), 3),
        "share": round(median(share), 3),
        "share_range": [round(min(share), 3), round(max(share), 3)],
        "all_outputs_tiles_per_s": round(prediction.tiles / everything, 3),
    }
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
