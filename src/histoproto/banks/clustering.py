"""Cosine k-means: k-means on unit-length rows, whose squared distance is ``2 (1 - cos)`` (PBIP, CVPR 2025, Eq. 1)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

STARTS = 10
"""Initialisations of k-means, of which the best is kept."""
MOST_AUTOMATIC = 5
"""Largest K that is tried; the paper tries 1 to 5."""
SMALLEST_SILHOUETTE = 0.1
"""Below it no K above 1 describes the class better than one group."""
SILHOUETTE_ROWS = 2000
"""Rows that the silhouette looks at, since it compares all pairs."""


class Clusters(NamedTuple):
    """A class in groups, the largest first."""

    owner: Int64[np.ndarray, " rows"]
    """Group of each row."""
    centres: Float32[np.ndarray, "groups dim"]
    """Mean of each group's rows, of unit length."""


def unit_rows(rows: Float32[np.ndarray, "rows dim"]) -> Float32[np.ndarray, "rows dim"]:
    """Return rows of length one; a zero row stays zero."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length, 1e-12), np.float32)


def cluster(rows: Float32[np.ndarray, "rows dim"], groups: int, seed: int) -> Clusters:
    """Return cosine k-means of unit-length rows.

    Args:
        rows: at least ``groups`` different rows of unit length.
        groups: K.
        seed: of the initialisations.
    """
    owner = KMeans(groups, n_init=STARTS, random_state=seed).fit(rows).labels_.astype(np.int64)
    return _ordered(rows, owner, groups)


def scatter(rows: Float32[np.ndarray, "rows dim"], groups: int, seed: int) -> Clusters:
    """Return groups of equal size drawn at random; arguments as ``cluster``."""
    owner = np.random.default_rng(seed).permutation(np.arange(len(rows), dtype=np.int64) % groups)
    return _ordered(rows, owner, groups)


def best_number(rows: Float32[np.ndarray, "rows dim"], seed: int) -> tuple[int, dict[int, float]]:
    """Return the K from 1 to 5 of the highest silhouette (cosine), and the silhouettes from K = 2.

    K is 1 where no silhouette reaches 0.1.
    """
    different = len(np.unique(rows, axis=0))
    silhouettes = {
        groups: float(
            silhouette_score(
                rows,
                cluster(rows, groups, seed).owner,
                metric="cosine",
                sample_size=min(len(rows), SILHOUETTE_ROWS),
                random_state=seed,
            )
        )
        for groups in range(2, min(MOST_AUTOMATIC, different - 1) + 1)
    }
    best = max(silhouettes, key=lambda groups: silhouettes[groups], default=1)
    return (best if silhouettes.get(best, 0.0) >= SMALLEST_SILHOUETTE else 1), silhouettes


def _ordered(rows: Float32[np.ndarray, "rows dim"], owner: Int64[np.ndarray, " rows"], groups: int) -> Clusters:
    sizes = np.bincount(owner, minlength=groups)
    rank = np.argsort(np.argsort(-sizes, kind="stable"), kind="stable")
    ordered = rank[owner].astype(np.int64)
    centres = np.stack([rows[ordered == group].mean(0) for group in range(groups)])
    return Clusters(ordered, unit_rows(centres))
