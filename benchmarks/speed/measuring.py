"""Time, memory and operations of a piece of work."""

import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

GIB = 2**30


@dataclass(frozen=True)
class Measured:
    """What a piece of work takes."""

    seconds: float
    """Median over the repeats."""
    spread: tuple[float, float]
    """Fastest and slowest repeat."""
    peak_gib: float
    """Most memory of the process (CPU) or of the device, from its start to the end of the repeats."""
    tflop: float
    """Multiplications and additions of matrix products and convolutions, in 1e12."""
    traffic_gib: float
    """Bytes that operators read and write, if no cache served two of them."""


class _Traffic(TorchDispatchMode):
    """Adds up the size of every operator's tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
            self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return result


def measure(
    work: Callable[[], object],
    device: torch.device,
    *,
    warmups: int,
    repeats: int,
    counted: Callable[[], object] | None = None,
) -> Measured:
    """Return what ``work`` takes.

    Args:
        work: what is timed.
        device: where it computes.
        warmups: calls before the clock starts.
        repeats: calls that are timed.
        counted: the same work, or its like in one thread; its operations are counted once time and memory are known.
    """
    for _ in range(warmups):
        work()
    _wait(device)
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        _wait(device)
        seconds.append(time.perf_counter() - began)
    peak = _peak(device)
    flops, traffic = FlopCounterMode(display=False), _Traffic()
    if counted is not None:
        with flops, traffic:
            counted()
    spread = (min(seconds), max(seconds))
    return Measured(median(seconds), spread, peak / GIB, flops.get_total_flops() / 1e12, traffic.bytes / GIB)


def as_dict(measured: Measured, **more: Any) -> dict[str, Any]:
    """Return plain values for JSON."""
    return {**asdict(measured), **more}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
