"""What a trained method's prototypes do on patches: where each is strongest, how often it wins, which fire alike."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from histoproto.contracts import Method
from histoproto.data.manifest import PatchRecord
from histoproto.data.patches import PatchDataset, collate

BATCH = 8
"""Patches that go through the network together."""
TIE = 1e-6
"""Activations that differ by less are the same but for rounding."""


class Behaviour(NamedTuple):
    """Measured over all places of some patches; T prototypes in class order, N patches in the order given."""

    peaks: Float[Tensor, "patches prototypes"]
    """Highest activation of each prototype on each patch, in [-1, 1]."""
    spots: Float[Tensor, "patches prototypes 4"]
    """The cell of the map where that is: left, top, right, bottom as shares of the patch's width and height."""
    lowest: Float[Tensor, " prototypes"]
    """Lowest activation of each prototype on any patch."""
    shares: list[float | None]
    """Share of the places, in patches labelled with its class, where a prototype beats the others of its class.

    Prototypes that tie share the place. None where no patch is labelled with the class.
    """
    labelled: list[int]
    """Patches labelled with each class."""
    correlation: Float[Tensor, "prototypes prototypes"]
    """Pearson correlation of activation maps over all places of all patches; 0 with a map that never changes."""


def measure(
    method: Method, records: Sequence[PatchRecord], size_px: int | None, advance: Callable[[int], None]
) -> Behaviour:
    """Return how each prototype behaves on labelled patches.

    Args:
        method: trained, in eval mode.
        records: labelled patches.
        size_px: side that the method was trained on; None takes patches as they are.
        advance: called with the number of patches just finished.

    Raises:
        DataError: if a patch cannot be read, or sizes differ and no side was given.
        LabelError: if a patch has no labels.
    """
    total = sum(method.counts)
    tally = _Tally(method.counts)
    peaks, spots = [], []
    lowest = torch.full((total,), torch.inf)
    for maps, labels in _maps_of(method, PatchDataset(records, size_px)):
        tally.add(maps, labels)
        lowest = lowest.minimum(maps.amin((0, 2, 3)))
        best = maps.flatten(2).max(-1)
        peaks.append(best.values)
        spots.append(_cells(best.indices, maps.shape[-2], maps.shape[-1]))
        advance(len(maps))
    return Behaviour(
        torch.cat(peaks), torch.cat(spots), lowest, tally.shares(), tally.labelled.tolist(), tally.correlation()
    )


def activation_maps(
    method: Method, records: Sequence[PatchRecord], size_px: int | None
) -> list[Float[Tensor, "prototypes _height _width"]]:
    """Return each patch's activation maps, in [-1, 1]; arguments and errors as for ``measure``."""
    return [one for maps, _ in _maps_of(method, PatchDataset(records, size_px)) for one in maps]


def vector_similarity(method: Method) -> Float[Tensor, "prototypes prototypes"]:
    """Return the cosines of the vectors in the method's tensor ``prototypes``, in [-1, 1]."""
    vectors = method.state_dict()["prototypes"]
    unit = normalize(vectors.float().cpu(), dim=1)
    return (unit @ unit.T).clamp(-1, 1)


def _maps_of(method: Method, patches: PatchDataset) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield activation maps ``(B, T, h, w)`` and labels ``(B, C)``, batch by batch, on the CPU."""
    device = next(method.parameters()).device
    for start in range(0, len(patches), BATCH):
        batch = collate([patches[index] for index in range(start, min(start + BATCH, len(patches)))])
        with torch.inference_mode():
            maps = method.prototype_maps(batch.images.to(device).float() / 255).float().cpu()
        yield maps, batch.labels


def _cells(places: Int64[Tensor, "batch prototypes"], height: int, width: int) -> Float[Tensor, "batch prototypes 4"]:
    """Return the corners of the cells at flat positions, as shares of width and height."""
    row, column = places // width, places % width
    corners = [column / width, row / height, (column + 1) / width, (row + 1) / height]
    return torch.stack(corners, dim=-1)


class _Tally:
    """Sums over places, so that no maps have to be kept."""

    def __init__(self, counts: Sequence[int]) -> None:
        total = sum(counts)
        self.counts = counts
        self.won = torch.zeros(total, dtype=torch.float64)
        self.places = torch.zeros(len(counts), dtype=torch.float64)
        self.labelled = torch.zeros(len(counts), dtype=torch.int64)
        self.seen = 0
        self.sums = torch.zeros(total, dtype=torch.float64)
        self.products = torch.zeros(total, total, dtype=torch.float64)

    def add(self, maps: Float[Tensor, "batch prototypes height width"], labels: Float[Tensor, "batch classes"]) -> None:
        self._add_wins(maps, labels > 0)
        flat = maps.double().transpose(0, 1).flatten(1)  # (T, B h w)
        self.seen += flat.shape[1]
        self.sums += flat.sum(1)
        self.products += flat @ flat.T

    def _add_wins(self, maps: Tensor, present: Tensor) -> None:
        start = 0
        for index, count in enumerate(self.counts):
            own = maps[present[:, index], start : start + count]  # (patches, K, h, w)
            if len(own):
                winners = (own >= own.amax(1, keepdim=True) - TIE).double()
                self.won[start : start + count] += (winners / winners.sum(1, keepdim=True)).sum((0, 2, 3))
                self.places[index] += own[:, 0].numel()
                self.labelled[index] += len(own)
            start += count

    def shares(self) -> list[float | None]:
        of_class = [
            places for places, count in zip(self.places.tolist(), self.counts, strict=True) for _ in range(count)
        ]
        return [won / places if places else None for won, places in zip(self.won.tolist(), of_class, strict=True)]

    def correlation(self) -> Float[Tensor, "prototypes prototypes"]:
        means = self.sums / self.seen
        covariance = self.products / self.seen - means[:, None] * means
        deviations = covariance.diagonal().clamp(min=0).sqrt()
        known = deviations > 1e-6  # below lies what rounding leaves of a map that never changes
        scale = torch.where(known, 1 / deviations.clamp(min=1e-6), 0.0)
        correlation = (covariance * scale[:, None] * scale).clamp(-1, 1)
        return correlation.fill_diagonal_(1.0).float()
