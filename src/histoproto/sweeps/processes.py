"""Jobs in parallel processes: at most so many at once, their output in their logs, and a clean end on Ctrl-C."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from typing import NamedTuple

from histoproto.sweeps.steps import Job
from histoproto.training.interruption import Interruption

PRELOADED = ["histoproto.wiring.methods", "histoproto.training.loop"]
"""Imported once, in the process that the others are forked from: torch and its friends cost seconds each time."""
LOOK_EVERY_S = 0.5
INTERRUPTED = 130

Work = Callable[[Job, int], None]
"""Makes a job with so many threads; a function of a module, since another process imports it."""


class Outcome(NamedTuple):
    """How a job ended."""

    job: Job
    code: int
    """Exit code: 0 done, 130 interrupted, anything else failed."""

    @property
    def reason(self) -> str:
        """The last line of its log, which for a user's error is the sentence."""
        if not self.job.log.is_file():
            return "it ended before it began"
        lines = [
            line for line in self.job.log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()
        ]
        return lines[-1].strip() if lines else "it said nothing"


def run_jobs(jobs: Sequence[Job], work: Work, at_once: int, look: Callable[[Sequence[Outcome]], None]) -> list[Outcome]:
    """Run jobs, each in a process of its own, and wait for all; one that fails does not stop the others.

    The first SIGINT or SIGTERM is handed on to the processes, which save what they have; no further job begins. A
    second one ends everything at once.

    Args:
        jobs: what to do, in this order.
        work: what a process does.
        at_once: number of processes.
        look: called twice a second with what has ended, for a progress bar.

    Returns:
        How those that began ended; fewer than ``jobs`` after an interruption.
    """
    waiting = list(reversed(jobs))
    running: list[tuple[Job, ForkServerProcess]] = []
    ended: list[Outcome] = []
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    told = False
    try:
        with Interruption() as wish:
            while running or (waiting and not wish.asked):
                while waiting and len(running) < at_once and not wish.asked:
                    job = waiting.pop()
                    process = context.Process(target=work, args=(job, threads_each(at_once)), name=job.name)
                    process.start()
                    running.append((job, process))
                wait([process.sentinel for _, process in running], LOOK_EVERY_S)
                ended += _reap(running)
                if wish.asked and not told:
                    told = True
                    _tell(running, signal.SIGINT)
                look(ended)
    finally:
        _tell(running, signal.SIGKILL)  # only after a second signal, or a bug of ours
    return ended


def threads_each(at_once: int) -> int:
    """Return the threads of each process: what OMP_NUM_THREADS says, else a fair share of this machine's cores."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked):
        return int(asked)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // at_once)


def _reap(running: list[tuple[Job, ForkServerProcess]]) -> list[Outcome]:
    """Take out the processes that have ended."""
    ended = []
    for job, process in list(running):
        if not process.is_alive():
            ended.append(Outcome(job, process.exitcode or 0))
            running.remove((job, process))
    return ended


def _tell(running: list[tuple[Job, ForkServerProcess]], number: signal.Signals) -> None:
    for _, process in running:
        if process.pid is not None and process.is_alive():
            os.kill(process.pid, number)
