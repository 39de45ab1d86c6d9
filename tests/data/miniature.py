"""Miniatures of the data sets, with patches of noise that all differ."""

from pathlib import Path

import numpy as np
from PIL import Image

from histoproto.masks import write_mask
from histoproto.taxonomy import BCSS_WSSS, Taxonomy

SIZE_PX = 16


def pixels(seed, size_px=SIZE_PX):
    return np.random.default_rng(seed).integers(0, 256, (size_px, size_px, 3), dtype=np.uint8)


def write_patch(path: Path, seed: int, size_px: int = SIZE_PX) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed, size_px)).save(path)
    return path


def write_pair(folder: Path, name: str, seed: int, taxonomy: Taxonomy = BCSS_WSSS) -> Path:
    """Write an image and its mask into img and mask; return the image."""
    image = write_patch(folder / "img" / name, seed)
    indices = np.random.default_rng(seed).integers(0, taxonomy.background + 1, (SIZE_PX, SIZE_PX))
    write_mask(folder / "mask" / name, indices.astype(np.uint8), taxonomy)
    return image


TRAINING = ("1000", "0100", "0010", "0001", "1101")


def bcss_name(group: str, labels: str | None, number: int = 0) -> str:
    digits = f"[{labels}]" if labels else ""
    return f"{group}-DX1_xmin{number}_ymin5_MPP-0.2500+{number}{digits}.png"


def write_bcss(root: Path, *, val_labels: bool = False) -> Path:
    """Write 10 training patches of 2 patients, 2 validation and 1 test image with masks; return the folder."""
    for number, labels in enumerate((*TRAINING, *TRAINING)):
        group = f"TCGA-A1-A0S{number // 5}"
        write_patch(root / "training" / bcss_name(group, labels, number), seed=number)
    for number in range(2):
        name = bcss_name("TCGA-D8-A1JL", "1100" if val_labels else None, number)
        write_pair(root / "val", name, seed=100 + number)
    write_pair(root / "test", bcss_name("TCGA-EW-A1PB", None), seed=200)
    return root
