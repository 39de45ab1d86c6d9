"""Predict many inputs: in this process, in worker processes, or on a Ray cluster."""

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Literal

from histoproto.commands.predict_input import PredictOptions
from histoproto.commands.predict_progress import SlidesProgress, slides_progress
from histoproto.commands.predict_task import Outcome, Task, predict_task
from histoproto.commands.predict_worklist import LOOK_AGAIN_S, Worklist
from histoproto.errors import ConfigError


@dataclass(frozen=True)
class Engine:
    """Who predicts.

    Raises:
        ConfigError: if the settings do not go together.
    """

    kind: Literal["local", "ray"] = "local"
    jobs: int | None = None
    """Worker processes or actors; None is this process alone, or an actor per machine."""
    address: str | None = None
    """Of a Ray cluster; None starts one on this machine."""

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise ConfigError(f"--jobs {self.jobs}: at least one input at a time")
        if self.kind == "local" and self.address is not None:
            raise ConfigError(f"--address {self.address} is for --engine ray; leave it out or add that")


def predict_all(options: PredictOptions, tasks: Sequence[Task], engine: Engine) -> dict[str, Outcome]:
    """Predict inputs that are not finished, and return how they ended, in the order of the tasks.

    Args:
        options: what inputs are predicted with.
        tasks: the inputs.
        engine: who predicts.

    Returns:
        Outcomes by name; fewer than tasks after SIGINT or SIGTERM.

    Raises:
        RunError: if the run cannot be loaded.
        ConfigError: if Ray is asked for and missing or out of reach.
    """
    worklist = Worklist(tasks)
    try:
        with _sigterm_as_interrupt(), slides_progress(len(tasks)) as progress:
            _predict(options, worklist, engine, progress)
    except KeyboardInterrupt:
        pass  # what has ended is known, and the command says what has not
    return {task.name: worklist.ended[task.name] for task in tasks if task.name in worklist.ended}


def _predict(options: PredictOptions, worklist: Worklist, engine: Engine, progress: SlidesProgress) -> None:
    if worklist.over:
        return
    if engine.kind == "ray":
        from histoproto.commands.predict_ray import predict_on_ray

        predict_on_ray(options, worklist, engine.jobs, engine.address, progress)
    elif engine.jobs is not None:
        from histoproto.commands.predict_workers import predict_in_workers

        predict_in_workers(options, worklist, engine.jobs, progress)
    else:
        _predict_here(options, worklist, progress)


def _predict_here(options: PredictOptions, worklist: Worklist, progress: SlidesProgress) -> None:
    from histoproto.commands.predict_input import Predictor
    from histoproto.progress import progress_told_to

    predictor = Predictor(options)
    with progress_told_to(lambda done, total: progress.tiles(0, done, total)):
        while not worklist.over:
            task = worklist.take()
            if task is None:
                time.sleep(LOOK_AGAIN_S)
                continue
            progress.begin(0, task.name)
            outcome = predict_task(predictor, task)
            worklist.end(task, outcome)
            progress.end(0, task.name, outcome)


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Take SIGTERM, which job schedulers send, like Ctrl-C; signals reach Python's main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
