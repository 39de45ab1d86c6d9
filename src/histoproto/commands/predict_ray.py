"""Predict many inputs with the actors of a Ray cluster, or of one that is started on this machine for the purpose."""

import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from histoproto.commands.predict_input import PredictOptions, Predictor
from histoproto.commands.predict_progress import SlidesProgress
from histoproto.commands.predict_task import Outcome, Task, predict_task
from histoproto.commands.predict_worklist import LOOK_AGAIN_S, Worklist
from histoproto.errors import ConfigError, HistoprotoError, RunError
from histoproto.heap import keep_freed_memory

STORE_BYTES = 100 * 2**20
"""Of a cluster of our own: only names and areas pass through it."""

REACH_S = 10.0
"""Until a cluster's head counts as out of reach."""


class SlideActor:
    """Holds the run on some machine and predicts one input after the other.

    Args:
        options: what inputs are predicted with.
        threads: of torch.
    """

    def __init__(self, options: PredictOptions, threads: int) -> None:
        self.options = options
        self.threads = threads
        self.predictor: Predictor | None = None

    def load(self) -> str | None:
        """Load the run; return why that is impossible, or None."""
        import torch

        keep_freed_memory()
        torch.set_num_threads(self.threads)
        try:
            self.predictor = self.predictor or Predictor(self.options)
        except HistoprotoError as error:
            return str(error)
        return None

    def predict(self, task: Task) -> Outcome:
        """Predict an input, with a run that is loaded anew if the actor was born again."""
        if (refused := self.load()) is not None or self.predictor is None:
            return Outcome("failed", error=refused)
        return predict_task(self.predictor, task)


@dataclass
class _Actor:
    """An actor as its command sees it."""

    place: int
    handle: Any
    pending: Any
    """What it was last asked: ``load`` or ``predict``; None while it waits for an input."""
    task: Task | None = None


def predict_on_ray(
    options: PredictOptions, worklist: Worklist, jobs: int | None, address: str | None, progress: SlidesProgress
) -> None:
    """Predict all inputs of a worklist; one whose actor dies is tried once more, then recorded as failed.

    An actor that dies is started again by Ray, wherever there is room, and gets an input when it has loaded the run.
    Paths must mean the same on all machines.

    Args:
        options: what inputs are predicted with; absolute paths.
        worklist: which inputs; receives how they end.
        jobs: number of actors; None for one per machine.
        address: of a cluster; None starts one on this machine.
        progress: told what is done.

    Raises:
        ConfigError: if Ray is missing or the cluster cannot be reached.
        RunError: if the run cannot be loaded.
    """
    with _cluster(address) as ray:
        actors = _start(ray, options, worklist, jobs)
        try:
            while not worklist.over:
                _give(actors, worklist, progress)
                asked = {actor.pending: actor for actor in actors if actor.pending is not None}
                answered = ray.wait(list(asked), timeout=LOOK_AGAIN_S)[0] if asked else []
                for reference in answered:
                    _hear(ray, asked[reference], worklist, progress)
        finally:
            for actor in actors:
                ray.kill(actor.handle)


def _start(ray: Any, options: PredictOptions, worklist: Worklist, jobs: int | None) -> list[_Actor]:
    sizes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    sizes = [size for size in sizes if size]
    if not sizes:
        raise ConfigError("the Ray cluster has no CPU to work with; start a node with: ray start --address HEAD")
    count = min(jobs or len(sizes), worklist.total)
    threads = max(1, min(sum(sizes) // count, *sizes))
    cards = ray.cluster_resources().get("GPU", 0)
    share = 1 / ceil(count / cards) if cards else 0  # whole shares fit on a card
    kind = ray.remote(num_cpus=threads, num_gpus=share, max_restarts=-1, scheduling_strategy="SPREAD")
    handles = [kind(SlideActor).remote(options, threads) for _ in range(count)]
    return [_Actor(place, handle, handle.load.remote()) for place, handle in enumerate(handles)]


def _give(actors: list[_Actor], worklist: Worklist, progress: SlidesProgress) -> None:
    for actor in actors:
        if actor.pending is None and (task := worklist.take()) is not None:
            actor.task = task._replace(file=task.file.absolute(), folder=task.folder.absolute())
            actor.pending = actor.handle.predict.remote(actor.task)
            progress.begin(actor.place, task.name)


def _hear(ray: Any, actor: _Actor, worklist: Worklist, progress: SlidesProgress) -> None:
    """Take an actor's answer, or what Ray says in its place."""
    task, actor.task = actor.task, None
    try:
        answer = ray.get(actor.pending)
        actor.pending = None
    except ray.exceptions.RayError as error:
        actor.pending = actor.handle.load.remote()  # answered when it lives again
        if task is None:
            _raise_if_hopeless(ray, error)
            return
        reason = _reason(error)
        progress.lose(actor.place, task.name, reason)
        outcome = worklist.died(task, reason)
        if outcome is not None:
            progress.end(actor.place, task.name, outcome)
        return
    if task is not None:
        worklist.end(task, answer)
        progress.end(actor.place, task.name, answer)
    elif answer is not None:
        raise RunError(answer)


def _raise_if_hopeless(ray: Any, error: Exception) -> None:
    """Let an exception of the actor's own code go up: another try would end in the same way."""
    if isinstance(error, ray.exceptions.RayTaskError):
        raise RunError(f"an actor cannot load the run: {_reason(error)}")


def _reason(error: Exception) -> str:
    """Return the last line of what Ray says, or what a dead actor is said to have died of."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"its actor ended ({lines[-1].rstrip('.') if lines else type(error).__name__})"


@contextmanager
def _cluster(address: str | None) -> Iterator[Any]:
    """Join the cluster, or start one with a folder of its own, and leave nothing of it behind."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing about slides leaves the house
    try:
        import ray
    except ImportError:
        raise ConfigError('--engine ray needs Ray; install it: pip install "histoproto[ray]"') from None
    folder = None if address else Path(tempfile.mkdtemp(prefix="histoproto-ray-", dir="/tmp"))  # sockets: short paths
    try:
        _join(ray, address, folder)
        yield ray
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _join(ray: Any, address: str | None, folder: Path | None) -> None:
    before = signal.getsignal(signal.SIGTERM)
    own = {"_temp_dir": str(folder), "object_store_memory": STORE_BYTES, "include_dashboard": False} if folder else {}
    if address is not None:
        _check_reachable(address)
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level="ERROR", **own)
    except (ConnectionError, ValueError) as error:
        raise ConfigError(f"--address {address}: no Ray cluster can be reached there ({error})") from None
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)  # Ray's own would end the command without a word


def _check_reachable(address: str) -> None:
    """Ask ``HOST:PORT`` whether anyone listens: Ray itself keeps asking for minutes."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()) or "/" in host:
        return  # "auto" and ray:// addresses are Ray's to understand
    try:
        socket.create_connection((host, int(port)), timeout=REACH_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--address {address}: no Ray cluster can be reached there ({error})") from None
