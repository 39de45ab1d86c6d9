"""Time the dense CRF against pydensecrf2 on one batch, alternately in one run, and count the labels that agree.

usage: python benchmarks/crf_speed.py [--images FOLDER] [--repeats N] [--threads N] [--json FILE]
  --images   use photographs of 224 px from this folder and its subfolders instead of drawn tissue
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

from histoproto.cams.dense_crf import LEAST_PROBABILITY, DenseCRFSettings, dense_crf
from histoproto.data.phantom import render_tissue

try:
    import pydensecrf.densecrf as reference
except ImportError:
    sys.exit("crf_speed: pydensecrf2 is not installed; pip install 'histoproto[crf]' (it needs a C++ compiler)")

BATCH, SIDE_PX, CLASSES = 16, 224, 4
SETTINGS = DenseCRFSettings()


def drawn() -> tuple[np.ndarray, np.ndarray]:
    """Return images and true masks of the phantom; white counts as the last class."""
    tissues = [render_tissue(SIDE_PX, SIDE_PX, seed) for seed in range(BATCH)]
    return np.stack([each.image for each in tissues]), np.stack([each.mask for each in tissues]).clip(max=CLASSES - 1)


def photographs(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return photographs, spread evenly over the folder's, and masks of random smooth regions on them."""
    files = [each for each in sorted(folder.rglob("*")) if each.suffix.lower() in {".png", ".jpg", ".tif"}]
    if len(files) < BATCH:
        sys.exit(f"crf_speed: {folder} holds {len(files)} images; {BATCH} are needed")
    chosen = [np.asarray(Image.open(each).convert("RGB")) for each in files[:: len(files) // BATCH][:BATCH]]
    if {each.shape for each in chosen} != {(SIDE_PX, SIDE_PX, 3)}:
        sys.exit(f"crf_speed: images in {folder} are not all of {SIDE_PX} x {SIDE_PX} px")
    regions = np.random.default_rng(1).standard_normal((BATCH, CLASSES, SIDE_PX, SIDE_PX))
    return np.stack(chosen), gaussian_filter(regions, (0, 0, 20, 20)).argmax(1)


def guesses(masks: np.ndarray) -> np.ndarray:
    """Return class probabilities like a network's, ``(batch, classes, side, side)``: blurred masks, smooth errors."""
    truth = np.moveaxis(np.eye(CLASSES)[masks], -1, 1)
    errors = gaussian_filter(np.random.default_rng(0).standard_normal(truth.shape), (0, 0, 4, 4))
    scores = 4 * gaussian_filter(truth, (0, 0, 8, 8)) + errors / errors.std()
    powers = np.exp(scores)
    return (powers / powers.sum(1, keepdims=True)).astype(np.float32)


def by_reference(images: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return pydensecrf2's posteriors."""
    found = np.empty_like(probabilities)
    for image, given, posterior in zip(images, probabilities, found, strict=True):
        field = reference.DenseCRF2D(SIDE_PX, SIDE_PX, CLASSES)
        field.setUnaryEnergy(-np.log(given.clip(LEAST_PROBABILITY, 1)).reshape(CLASSES, -1))
        field.addPairwiseGaussian(sxy=SETTINGS.smooth_px, compat=SETTINGS.smooth_weight)
        field.addPairwiseBilateral(
            sxy=SETTINGS.edge_px, srgb=SETTINGS.edge_colour, rgbim=image, compat=SETTINGS.edge_weight
        )
        posterior[:] = np.asarray(field.inference(SETTINGS.iterations)).reshape(given.shape)
    return found


def ours(images: np.ndarray, probabilities: np.ndarray) -> Tensor:
    """Return histoproto's posteriors from the same arrays."""
    rgb = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return dense_crf(rgb, torch.from_numpy(probabilities), SETTINGS)


def ms_of(work: Callable[[], object]) -> tuple[float, float]:
    """Return milliseconds per image: those that pass, and those that the cores spend on it together."""
    passed, spent = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - passed) * 1000 / BATCH, (time.process_time() - spent) * 1000 / BATCH


def main() -> None:
    """Make the batch, time both, print."""
    parser = argparse.ArgumentParser(description="Time the dense CRF against pydensecrf2.")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)

    images, masks = photographs(asked.images) if asked.images else drawn()
    probabilities = guesses(masks)
    expected = by_reference(images, probabilities).argmax(1)  # warms up
    found = ours(images, probabilities).argmax(1).numpy()
    rounds = [
        (*ms_of(lambda: ours(images, probabilities)), *ms_of(lambda: by_reference(images, probabilities)))
        for _ in range(asked.repeats)
    ]
    mine, my_work, theirs, their_work = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratios = [each[2] / each[0] for each in rounds]
    figures = {
        "batch": f"{BATCH} images of {SIDE_PX} x {SIDE_PX} px, {CLASSES} classes, {SETTINGS.iterations} iterations",
        "images": "photographs" if asked.images else "drawn tissue",
        "threads": asked.threads,
        "repeats": asked.repeats,
        "histoproto_ms_per_image": round(mine, 1),
        "pydensecrf2_ms_per_image": round(theirs, 1),
        "times_faster": round(statistics.median(ratios), 2),
        "times_faster_range": [round(min(ratios), 2), round(max(ratios), 2)],
        "histoproto_core_ms": round(my_work, 1),
        "pydensecrf2_core_ms": round(their_work, 1),
        "equal_labels": round(float((found == expected).mean()), 6),
        "equal_labels_worst_image": round(float((found == expected).mean((1, 2)).min()), 6),
        "labels_changed_by_crf": round(float((expected != probabilities.argmax(1)).mean()), 4),
        "torch": torch.__version__,
        "pydensecrf2": version("pydensecrf2"),
    }
    sys.stdout.writelines(f"{name:26} {value}\n" for name, value in figures.items())
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
