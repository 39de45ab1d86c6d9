"""From features of single-label patches to sub-classes and their prototypes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from histoproto.banks.clustering import Clusters, best_number, cluster, scatter, unit_rows
from histoproto.banks.settings import BankSettings
from histoproto.errors import ConfigError, DataError


class SubClass(NamedTuple):
    """One group of a class's patches."""

    members: int
    """Patches in the group."""
    chosen: Int64[np.ndarray, " chosen"]
    """Rows of the patches in the bank, the nearest to the centre first."""
    cosines: Float32[np.ndarray, " chosen"]
    """Their cosine to the centre."""
    prototype: Float32[np.ndarray, " dim"]
    """Unit length."""


class ClassBank(NamedTuple):
    """One class's part of a bank."""

    name: str
    candidates: int
    """Training patches that show this class alone."""
    white: int
    """How many of them were left out as white."""
    sub_classes: list[SubClass]
    silhouettes: dict[int, float]
    """By K; empty unless K was chosen by it."""


def build_bank(
    names: Sequence[str],
    owner: Int64[np.ndarray, " patches"],
    vectors: Float32[np.ndarray, "patches dim"],
    white: Float32[np.ndarray, " patches"],
    settings: BankSettings,
) -> list[ClassBank]:
    """Group each class's patches and choose those that stand for each group.

    Args:
        names: of the classes, in class order.
        owner: class of each single-label patch.
        vectors: features of the patches.
        white: share of white pixels of the patches.
        settings: see there.

    Returns:
        One part per class, in class order.

    Raises:
        ConfigError: if K is given for another number of classes.
        DataError: if a class has too few patches.
    """
    if isinstance(settings.per_class, tuple) and len(settings.per_class) != len(names):
        raise ConfigError(
            f"--per-class names {len(settings.per_class)} numbers, but there are {len(names)} classes "
            f"({', '.join(names)}); give one number, or one per class in this order"
        )
    rows = unit_rows(vectors)
    is_white = white > settings.white_share
    return [
        _class_bank(name, index, np.flatnonzero(owner == index), is_white, rows, settings)
        for index, name in enumerate(names)
    ]


def _class_bank(
    name: str,
    index: int,
    candidates: Int64[np.ndarray, " candidates"],
    is_white: np.ndarray,
    rows: Float32[np.ndarray, "patches dim"],
    settings: BankSettings,
) -> ClassBank:
    usable = candidates[~is_white[candidates]]
    _check_any(name, len(candidates), len(usable), settings.white_share)
    own = rows[usable]
    silhouettes: dict[int, float] = {}
    given = settings.per_class
    if isinstance(given, str):
        groups, silhouettes = best_number(own, settings.seed)
    else:
        groups = given if isinstance(given, int) else given[index]
    _check_enough(name, own, groups)
    clusters = (cluster if settings.choose == "clustered" else scatter)(own, groups, settings.seed)
    sub_classes = [_sub_class(clusters, group, own, usable, settings) for group in range(groups)]
    return ClassBank(name, len(candidates), len(candidates) - len(usable), sub_classes, silhouettes)


def _sub_class(
    clusters: Clusters,
    group: int,
    own: Float32[np.ndarray, "usable dim"],
    usable: Int64[np.ndarray, " usable"],
    settings: BankSettings,
) -> SubClass:
    members = np.flatnonzero(clusters.owner == group)
    cosines = own[members] @ clusters.centres[group]
    if settings.choose == "clustered":
        nearest = np.argsort(-cosines, kind="stable")[: settings.nearest]
    else:  # the groups are random, so their first patches are as well; shown by cosine all the same
        first = np.arange(len(members))[: settings.nearest]
        nearest = first[np.argsort(-cosines[first], kind="stable")]
    chosen = members[nearest]
    mean = unit_rows(own[chosen].mean(0, keepdims=True))[0]
    prototype = mean if settings.prototype == "mean" else clusters.centres[group]
    return SubClass(len(members), usable[chosen], cosines[nearest], prototype)


def _check_any(name: str, candidates: int, usable: int, white_share: float) -> None:
    if not candidates:
        raise DataError(
            f"{name}: no training patch shows this class alone, so there is nothing to make its prototypes of; "
            "label some such patches, or train lpd, which needs no bank"
        )
    if not usable:
        raise DataError(
            f"{name}: all {candidates} single-label patches are more than {white_share:.0%} white; "
            "look at them, or allow more white: --white-share 0.9"
        )


def _check_enough(name: str, own: Float32[np.ndarray, "usable dim"], groups: int) -> None:
    different = len(np.unique(own, axis=0))
    if different < groups:
        raise DataError(
            f"{name}: {different} different single-label patches cannot make {groups} sub-classes; ask for fewer with "
            f"--per-class {different}, or for one number per class, in class order, as in --per-class 3,3,{different},3"
        )
