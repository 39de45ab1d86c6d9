"""A worker process of ``histoproto predict``: it loads the run once and takes one input after the other."""

import sys
from multiprocessing.connection import Connection
from typing import NamedTuple

from histoproto.commands.child_process import follow_command
from histoproto.commands.predict_input import PredictOptions
from histoproto.commands.predict_task import Outcome, Task, predict_task
from histoproto.errors import HistoprotoError
from histoproto.heap import keep_freed_memory

INTERRUPTED = 130
GRACE_S = 5.0
"""From the wish to end to the end by force: a worker may be deep inside a convolution."""


class Ready(NamedTuple):
    """The run is loaded."""


class Refused(NamedTuple):
    """The run cannot be loaded, by any worker."""

    error: str


class Tiles(NamedTuple):
    """How far the input is."""

    done: int
    total: int


class Dying(NamedTuple):
    """Last words of a worker that meets what is nobody's input: a bug, or memory that is not there."""

    error: str


Message = Ready | Refused | Tiles | Outcome | Dying


def work(pipe: Connection, options: PredictOptions, place: int, threads: int) -> None:
    """Predict what the pipe brings until it brings None or closes.

    Args:
        pipe: takes tasks, returns messages.
        options: what inputs are predicted with.
        place: number among the workers, from 0.
        threads: of torch.
    """
    follow_command(kill_after_s=GRACE_S)
    keep_freed_memory()
    try:
        _serve(pipe, options, place, threads)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        sys.exit(INTERRUPTED)  # the command is no more
    except Exception as error:
        pipe.send(Dying(f"{type(error).__name__}: {error}"))
        raise


def _serve(pipe: Connection, options: PredictOptions, place: int, threads: int) -> None:
    import torch

    from histoproto.commands.predict_input import Predictor
    from histoproto.device import take_gpu
    from histoproto.progress import progress_told_to

    torch.set_num_threads(threads)
    take_gpu(place)
    try:
        predictor = Predictor(options)
    except HistoprotoError as error:
        pipe.send(Refused(str(error)))
        return
    pipe.send(Ready())
    with progress_told_to(lambda done, total: pipe.send(Tiles(done, total))):
        while (task := _next_task(pipe)) is not None:
            pipe.send(predict_task(predictor, task))


def _next_task(pipe: Connection) -> Task | None:
    task: Task | None = pipe.recv()
    return task
