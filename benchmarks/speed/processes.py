"""Each measurement in a process of its own, so that its memory is its own, but without importing everything anew."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from benchmarks.speed.cases import measured_case


def in_own_process(case: str, device: str, **options: Any) -> dict[str, Any]:
    """Return what a case says about itself, measured by a process that a server forks once it has imported all."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.speed.cases"])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(measured_case, case, device, options).result()
