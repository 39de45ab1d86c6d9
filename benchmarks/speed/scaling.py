"""How a training step grows with the number of prototypes, of classes, of images, and with their side."""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from benchmarks.speed.processes import in_own_process

SMALL: dict[str, Any] = {"batch": 4, "classes": 4, "prototypes": 3, "side_px": 112}
"""Where each axis starts from: steps of seconds."""
AXES: dict[str, tuple[int, ...]] = {
    "prototypes": (1, 3, 10, 20),
    "classes": (2, 5, 10, 20),
    "batch": (2, 4, 8, 16),
    "side_px": (96, 128, 192, 256),
}
TITLES = {
    "prototypes": "prototypes per class",
    "classes": "classes",
    "batch": "images in a batch",
    "side_px": "side of an image, px",
}


def draw_scaling(device: str, picture: Path) -> None:
    """Measure LPD's steps along each axis, draw time and memory, and keep the figures beside the picture."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for axis, values in AXES.items():
        for preset in ("corrected", "released"):
            rows = []
            for value in values:
                sizes = {**SMALL, axis: value, "method": "lpd", "preset": preset}
                rows.append(in_own_process("step", device, way="ours", warmups=1, repeats=1, checked=False, **sizes))
                sys.stderr.write(f"{preset}, {value} {TITLES[axis]}: {rows[-1]['seconds']:.2f} s\n")
            found.setdefault(axis, {})[preset] = rows
    picture.with_suffix(".json").write_text(json.dumps({"start": SMALL, "axes": found}, indent=2) + "\n")
    _draw(found, picture)


def _draw(found: dict[str, dict[str, list[dict[str, Any]]]], picture: Path) -> None:
    figure, places = plt.subplots(2, len(AXES), figsize=(13, 5.5), sharex="col", sharey="row", layout="constrained")
    for column, (axis, presets) in enumerate(found.items()):
        for preset, rows in presets.items():
            places[0, column].plot(AXES[axis], [row["seconds"] for row in rows], marker="o", label=preset)
            places[1, column].plot(AXES[axis], [row["peak_gib"] for row in rows], marker="o", label=preset)
        places[1, column].set_xlabel(TITLES[axis])
        for place in places[:, column]:
            place.set_ylim(bottom=0)
            place.grid(alpha=0.3)
    places[0, 0].set_ylabel("seconds per step")
    places[1, 0].set_ylabel("most memory, GiB")
    places[0, 0].legend(title="LPD", frameon=False)
    figure.savefig(picture, dpi=110)
