"""Work on many small things: a thread for each, rather than all threads on one after the other."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 2
"""Results per thread that may wait for the one before them."""


def side_by_side(
    function: Callable[[T], R], items: Iterable[T], device: torch.device, *, first_alone: bool = False
) -> Iterator[R]:
    """Yield the function's results in the order of the items.

    On a CPU each of torch's threads works on items of its own: operators on a few hundred pixels are too small to be
    shared among threads. Elsewhere one item follows the other.

    Args:
        function: may be called by several threads at the same time; modes such as ``no_grad`` are its own to set.
        items: as many as there are; only a few are taken ahead.
        device: where the function computes.
        first_alone: let the first item pass by itself, so that what a network makes at its first use is made once.
    """
    if device.type != "cpu":
        yield from map(function, items)
        return
    with threads_apart() as threads, ThreadPoolExecutor(threads) as workers:
        waiting: deque[Future[R]] = deque()
        for number, item in enumerate(items):
            waiting.append(workers.submit(function, item))
            if (number == 0 and first_alone) or len(waiting) > AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextmanager
def threads_apart() -> Iterator[int]:
    """Let operators run on the thread that calls them, also in threads started meanwhile; yield how many they had."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)
