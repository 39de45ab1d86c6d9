"""Memory and time of predicting a slide of any size with a trivial model: what everything around a network costs.

usage: python benchmarks/slide_memory.py [--side 60000] [--tissue 0.1] [--json FILE]

The slide is made when it is read: discs of tissue in six colours on glass, with one coarse page. All outputs are
written, as `histoproto predict` writes them.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from histoproto.commands.predict_slide import predict_slide
from histoproto.contracts import ClassMaps, Region, TissueModel
from histoproto.heap import keep_freed_memory
from histoproto.inference.gate import Gate
from histoproto.inference.settings import InferenceSettings
from histoproto.slides.pages import Page, PagedReader
from histoproto.taxonomy import Taxonomy

MPP = 0.5
COARSE = 16
COLOURS = np.array(
    [[120, 60, 140], [230, 150, 180], [70, 40, 120], [200, 90, 130], [170, 120, 190], [240, 120, 150]], np.uint8
)
TAXONOMY = Taxonomy(
    "six",
    tuple("abcdef"),
    tuple(f"Tissue {name}" for name in "abcdef"),
    tuple(tuple(int(part) for part in colour) for colour in COLOURS),
)
PATCH_PX = 20_000
"""Side of the squares of which each holds a disc of tissue."""


class VirtualSlide(PagedReader):
    """Discs of tissue whose pixels are computed."""

    def __init__(self, side_px: int, tissue: float) -> None:
        self.path, self.mpp, self.properties = Path("virtual"), MPP, {}
        self.width_px = self.height_px = side_px
        self.pages = (Page(side_px, side_px, 1.0), Page(side_px // COARSE, side_px // COARSE, float(COARSE)))
        self._radius_px = PATCH_PX * (tissue / np.pi) ** 0.5
        self._noise = np.random.default_rng(0).integers(0, 13, (512, 512, 1), np.uint8)

    def read_page(self, page: int, region: Region) -> np.ndarray:
        """Return the pixels of a region."""
        scale = self.pages[page].downsample
        y = (np.arange(region.y_px, region.y_px + region.height_px) * scale).astype(np.int64)
        x = (np.arange(region.x_px, region.x_px + region.width_px) * scale).astype(np.int64)
        across, down = (v.astype(np.int32) % PATCH_PX - PATCH_PX // 2 for v in (x, y))
        inside = across[None] ** 2 + down[:, None] ** 2 < self._radius_px**2
        which = (x // 900 % len(COLOURS)).astype(np.uint8)[None] + (2 * (y // 700) % len(COLOURS)).astype(np.uint8)[
            :, None
        ]
        pixels = COLOURS[which % len(COLOURS)] + self._noise[(y % 512)[:, None], (x % 512)[None]]
        return np.where(inside[..., None], pixels, np.uint8(243))

    def close(self) -> None:
        """Nothing is open."""


class NearestColour(TissueModel):
    """Six classes by colour, at a sixteenth of the resolution."""

    def __init__(self) -> None:
        super().__init__()
        self.colours = torch.nn.Parameter(torch.from_numpy(COLOURS).float() / 255)

    def class_maps(self, images: torch.Tensor) -> ClassMaps:
        """Return negative distances between mean colours."""
        mean = torch.nn.functional.avg_pool2d(images, 16)
        distance = (mean[:, None] - self.colours[None, :, :, None, None]).square().sum(2)
        return ClassMaps(-40 * distance, 1 - 10 * distance)


def main() -> None:
    """Predict a virtual slide; print tiles, seconds and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=60_000, help="pixels of a side")
    parser.add_argument("--tissue", type=float, default=0.1, help="share of the slide that is tissue, up to 0.78")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    keep_freed_memory()  # as the command does
    slide = VirtualSlide(options.side, options.tissue)
    settings = SimpleNamespace(inference=InferenceSettings(views="none"))
    trained = SimpleNamespace(model=NearestColour().eval(), taxonomy=TAXONOMY, settings=settings)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        found = predict_slide(trained, Gate((0.0,) * 6, 224), slide, slide, None, Path(folder))
        written = sum(file.stat().st_size for file in Path(folder).iterdir()) / 2**20
    seconds = time.monotonic() - start
    figures = {
        "side_px": options.side,
        "tissue": sum(area["pixels"] for area in found["areas"].values()) / options.side**2,
        "tiles": found["tiles"],
        "seconds": round(seconds, 1),
        "seconds_per_tile": round(seconds / max(1, found["tiles"]), 3),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "before_gib": round(before, 2),
        "written_mib": round(written, 1),
    }
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
