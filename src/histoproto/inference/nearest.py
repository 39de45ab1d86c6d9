"""Which patches to look at: drawn evenly over the classes, nearest to a prototype, typical of a class."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor

from histoproto.data.manifest import PatchRecord


def draw_evenly(records: Sequence[PatchRecord], classes: int, limit: int) -> list[PatchRecord]:
    """Return at most ``limit`` patches, each class in turn giving one, the same ones every time.

    Patches with no class at all are left out unless there is room for all patches.

    Args:
        records: labelled patches.
        classes: number of tissue classes.
        limit: most patches.
    """
    if len(records) <= limit:
        return list(records)
    random = np.random.default_rng(0)
    shuffled = random.permutation(len(records)).tolist()
    queues = [[i for i in shuffled if _holds(records[i], index)] for index in range(classes)]
    taken: set[int] = set()
    while len(taken) < limit and any(queues):
        for queue in queues:
            while queue and queue[-1] in taken:
                queue.pop()
            if queue and len(taken) < limit:
                taken.add(queue.pop())
    return [records[index] for index in sorted(taken)]


def nearest_patches(peaks: Float[Tensor, " patches"], groups: Sequence[str], count: int) -> list[int]:
    """Return the patches with the highest activation, the best of each source group before any second one.

    Args:
        peaks: highest activation on each patch.
        groups: source slide or patient of each patch.
        count: how many patches; fewer where there are fewer.
    """
    ranked = peaks.argsort(descending=True, stable=True).tolist()
    firsts = {groups[index]: index for index in reversed(ranked)}  # the best of a group is written last
    chosen = sorted(firsts.values(), key=ranked.index)[:count]
    chosen += [index for index in ranked if index not in chosen][: count - len(chosen)]
    return sorted(chosen, key=ranked.index)


def examples_of_class(records: Sequence[PatchRecord], index: int, count: int) -> list[int]:
    """Return patches labelled with a class, from different source groups where possible.

    Those with one other tissue come first: there one can see whether a map keeps to its class.

    Args:
        records: labelled patches.
        index: the class.
        count: how many patches; fewer where there are fewer.
    """
    shown = [place for place, record in enumerate(records) if _holds(record, index)]
    shown.sort(key=lambda place: abs(sum(records[place].labels or ()) - 2))
    firsts = {records[place].group: place for place in reversed(shown)}
    chosen = [place for place in shown if firsts[records[place].group] == place][:count]
    return chosen + [place for place in shown if place not in chosen][: count - len(chosen)]


def _holds(record: PatchRecord, index: int) -> bool:
    return record.labels is not None and record.labels[index] == 1
