"""Time the evaluation of stored masks: 5,000 patches of 224 px, two background rules, boundary IoU at two widths.

usage: python benchmarks/evaluate_speed.py FOLDER [PATCHES]
  FOLDER   new folder for the drawn masks and the figures
"""

import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from histoproto.data.manifest import Study, make_table, write_study
from histoproto.masks import write_mask
from histoproto.taxonomy import BCSS_WSSS

SIDE_PX = 224
PATCHES_PER_SLIDE = 50


def blobs(random: np.random.Generator) -> np.ndarray:
    """Return a mask of a dozen smooth regions with white and unknown pixels among them."""
    values = random.choice([0, 1, 2, 3, 4, 255], (7, 7), p=[0.3, 0.3, 0.15, 0.1, 0.1, 0.05]).astype(np.uint8)
    coarse = np.asarray(Image.fromarray(values).resize((SIDE_PX, SIDE_PX), Image.Resampling.NEAREST))
    reach = random.integers(-8, 9, 2 * SIDE_PX)
    rows = (np.arange(SIDE_PX) + reach[:SIDE_PX]).clip(0, SIDE_PX - 1)
    return coarse[rows]


def main() -> None:
    """Draw the masks, evaluate them as a user would, print seconds and memory."""
    folder, patches = Path(sys.argv[1]), int((*sys.argv, "5000")[2])
    random = np.random.default_rng(0)
    rows = []
    for index in range(patches):
        truth = blobs(random)
        noise = np.where(random.random(truth.shape) < 0.1, np.roll(truth, 9, 1), truth)
        write_mask(folder / "true" / f"{index:05d}.png", truth, BCSS_WSSS)
        write_mask(folder / "predicted" / f"{index:05d}.png", noise.clip(max=3), BCSS_WSSS)
        name = f"{index:05d}.png"
        rows.append(
            {"path": name, "split": "test", "group": f"slide_{index // PATCHES_PER_SLIDE}", "mask": f"true/{name}"}
        )
    write_study(Study(folder, BCSS_WSSS, make_table(rows).astype({"mpp": pd.Float64Dtype()})))
    command = [sys.executable, "-m", "histoproto", "evaluate", str(folder / "predicted"), "--study", str(folder)]
    began = time.perf_counter()
    subprocess.run([*command, "--run", str(folder / "run")], check=True)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    sys.stdout.write(f"{patches} patches of {SIDE_PX} px in {seconds:.1f} s, at most {peak:.2f} GiB\n")


main()
