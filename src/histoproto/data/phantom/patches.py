"""Patches in the BCSS-WSSS layout: a flat `training` folder, and `val` and `test` with `img` and `mask`."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from histoproto.atomic import replacing
from histoproto.data.phantom.layout import WHITE, Layout, mask_of
from histoproto.data.phantom.noise import Window
from histoproto.data.phantom.patient import Patient
from histoproto.data.phantom.tissue import render_window
from histoproto.errors import DataError
from histoproto.masks import write_mask
from histoproto.taxonomy import BCSS_WSSS

LABEL_SHARE = 0.02
"""A class is labelled when it covers more than this share of a patch."""

MPP = 0.5
"""Micrometres per pixel of the patches."""

_SURVEY_PX = 28
"""Pixels per patch side in the coarse map from which patches are chosen."""

_SURE_SHARE = 0.06
"""A class this common in the coarse map will be labelled in the patch, whatever its nuclei do at the border."""

_LARGEST_WHITE_SHARE = 0.5
"""Patches with more white than this are left out."""

_CLASSES_PER_PATCH = (1, 2, 3, 2, 1, 2, 2, 1, 3, 2, 4, 1)
"""Number of classes of successive patches: a third has one, 5 of 12 have two, the rest three or four."""

_PATIENTS = {"training": 8, "val": 3, "test": 4}


@dataclass(frozen=True)
class PhantomSummary:
    """What `write_patches` wrote.

    Attributes:
        folder: Where.
        patches: Number of patches per split.
        patients: Names of the patients per split; no patient is in two splits.
        labelled: Per split and class name, the number of patches labelled with the class.
    """

    folder: Path
    patches: dict[str, int]
    patients: dict[str, tuple[str, ...]]
    labelled: dict[str, dict[str, int]]


@dataclass(frozen=True)
class _Donor:
    """A patient whose tissue patches are cut from."""

    name: str
    patient: Patient
    layout: Layout


@dataclass(frozen=True)
class _Site:
    """A place where a patch may be cut, the classes that the coarse map shows there, and those it is sure of."""

    row: int
    column: int
    classes: frozenset[int]
    sure: frozenset[int]


def labels_of(mask: NDArray[np.uint8]) -> tuple[int, ...]:
    """Label digits of a mask: 1 for each class that covers more than 2% of it, in class order."""
    shares = np.bincount(mask.ravel(), minlength=len(BCSS_WSSS)) / mask.size
    return tuple(int(share > LABEL_SHARE) for share in shares[: len(BCSS_WSSS)])


def write_patches(
    folder: Path,
    *,
    train: int,
    val: int,
    test: int,
    size_px: int = 224,
    seed: int = 0,
    on_progress: Callable[[int], None] | None = None,
) -> PhantomSummary:
    """Write patches of several patients with labels in their names and masks for validation and test.

    The tissue of a patient is an endless plane, and a patch is a window of it; the coordinates in the name are the
    window's. A class is labelled 1 where it covers more than 2% of the patch. A split of four or more patches holds
    every class.

    Args:
        folder: Where to; must not exist or be empty.
        train: Number of training patches.
        val: Number of validation patches.
        test: Number of test patches.
        size_px: Side of the square patches, in pixels of 0.5 micrometres.
        seed: The same arguments give the same pixels.
        on_progress: Called with the number of patches written so far.

    Returns:
        What was written.

    Raises:
        DataError: If the folder holds anything, or a number or the size is out of range.
    """
    counts = {"training": train, "val": val, "test": test}
    if min(counts.values()) < 0 or size_px < 16:
        raise DataError(
            f"cannot write {train} training, {val} validation and {test} test patches of {size_px} pixels: "
            "give numbers of 0 or more and a size of 16 or more"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is not an empty folder; name a new one or remove what it holds")
    patients: dict[str, tuple[str, ...]] = {}
    labelled: dict[str, dict[str, int]] = {}
    done = 0
    for split, count in counts.items():
        donors = _donors(split, count, size_px, seed)
        patients[split] = tuple(donor.name for donor in donors)
        totals = np.zeros(len(BCSS_WSSS), dtype=np.int64)
        for number, (donor, site) in enumerate(_chosen_sites(donors, count, size_px, seed)):
            totals += _write_patch(folder, split, number, donor, site, size_px)
            done += 1
            if on_progress is not None:
                on_progress(done)
        labelled[split] = dict(zip(BCSS_WSSS.classes, totals.tolist(), strict=True))
    return PhantomSummary(folder=folder, patches=counts, patients=patients, labelled=labelled)


def _donors(split: str, count: int, size_px: int, seed: int) -> list[_Donor]:
    first = sum(list(_PATIENTS.values())[: list(_PATIENTS).index(split)])
    donors = []
    for number in range(first, first + min(_PATIENTS[split], count)):
        generator = np.random.default_rng([seed, number])
        patient_seed = int(generator.integers(2**31))
        # Regions about as wide as a patch: single tissues and borders are both common.
        region_um = size_px * MPP * generator.uniform(1.6, 2.6)
        donors.append(
            _Donor(
                name=f"PHANTOM-{number + 1:02d}",
                patient=Patient.draw(patient_seed),
                layout=Layout(seed=patient_seed, region_um=region_um),
            )
        )
    return donors


def _chosen_sites(donors: list[_Donor], count: int, size_px: int, seed: int) -> list[tuple[_Donor, _Site]]:
    """Choose places for `count` patches, patient by patient in turn, so that all mixtures of classes occur."""
    sites = [_survey(donor.layout, size_px, -(-count // len(donors)), seed) for donor in donors]
    used: Counter[frozenset[int]] = Counter()
    covered: Counter[int] = Counter()
    chosen = []
    for number in range(count):
        donor = number % len(donors)
        wanted = _CLASSES_PER_PATCH[(number // len(donors)) % len(_CLASSES_PER_PATCH)]

        def rank(site: _Site, wanted: int = wanted) -> tuple[int, int, int]:
            missing = sum(1 for label in site.sure if covered[label] == 0)
            return abs(len(site.classes) - wanted), -missing, used[site.classes]

        best = min(sites[donor], key=rank)
        sites[donor].remove(best)
        used[best.classes] += 1
        covered.update(best.sure)
        chosen.append((donors[donor], best))
    return chosen


def _survey(layout: Layout, size_px: int, needed: int, seed: int) -> list[_Site]:
    """Candidate places on a patient's plane, in random order, from a coarse map of its tissues."""
    side = max(10, int(np.ceil(np.sqrt(4 * needed))))
    coarse_mpp = size_px * MPP / _SURVEY_PX
    coarse = mask_of(layout.potentials(Window(0.0, 0.0, side * _SURVEY_PX, side * _SURVEY_PX, coarse_mpp)))
    blocks = coarse.reshape(side, _SURVEY_PX, side, _SURVEY_PX)
    sites = []
    for row, column in np.ndindex(side, side):
        shares = np.bincount(blocks[row, :, column].ravel(), minlength=WHITE + 1) / _SURVEY_PX**2
        classes = frozenset(np.flatnonzero(shares[:WHITE] > LABEL_SHARE).tolist())
        sure = frozenset(np.flatnonzero(shares[:WHITE] > _SURE_SHARE).tolist())
        if sure and shares[WHITE] <= _LARGEST_WHITE_SHARE:
            sites.append(_Site(row=row, column=column, classes=classes, sure=sure))
    order = np.random.default_rng([seed, layout.seed]).permutation(len(sites))
    return [sites[index] for index in order]


def _write_patch(folder: Path, split: str, number: int, donor: _Donor, site: _Site, size_px: int) -> NDArray[np.int64]:
    """Render and write one patch; return its label digits."""
    top_px, left_px = site.row * size_px, site.column * size_px
    tissue = render_window(donor.patient, donor.layout, Window(top_px * MPP, left_px * MPP, size_px, size_px, MPP))
    labels = labels_of(tissue.mask)
    digits = "".join(map(str, labels))
    name = f"{donor.name}-{number:04d}-xmin{left_px}_ymin{top_px}_MPP-{MPP:.4f}+0[{digits}].png"
    target = folder / split / name if split == "training" else folder / split / "img" / name
    if split != "training":
        # The mask first: an image without its mask would look like a broken data set.
        write_mask(folder / split / "mask" / name, tissue.mask, BCSS_WSSS)
    with replacing(target) as temporary:
        Image.fromarray(tissue.image).save(temporary, format="PNG", compress_level=4)
    return np.asarray(labels, dtype=np.int64)
