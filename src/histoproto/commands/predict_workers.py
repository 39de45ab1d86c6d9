"""Predict many inputs in worker processes of this machine.

Each worker has a pipe of its own, so that one that is killed takes nothing with it that others wait for. A worker
that dies gets a successor; one that dies while it loads the run gets none, since the memory may not hold so many.
"""

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from typing import Any

from histoproto.commands.predict_input import PredictOptions
from histoproto.commands.predict_progress import SlidesProgress
from histoproto.commands.predict_task import Outcome, Task
from histoproto.commands.predict_worker import GRACE_S, Dying, Message, Ready, Refused, Tiles, work
from histoproto.commands.predict_worklist import LOOK_AGAIN_S, Worklist
from histoproto.errors import RunError
from histoproto.sweeps.processes import threads_each

PRELOADED = ["histoproto.wiring.runs", "histoproto.inference.evidence", "histoproto.slides.reader"]
"""Imported once, in the process that workers are forked from: torch and its friends cost seconds each time."""


def predict_in_workers(options: PredictOptions, worklist: Worklist, jobs: int, progress: SlidesProgress) -> None:
    """Predict all inputs of a worklist; one that kills its process is tried once more, then recorded as failed.

    However this function is left, no worker stays behind.

    Args:
        options: what inputs are predicted with.
        worklist: which inputs; receives how they end.
        jobs: number of processes.
        progress: told what is done.

    Raises:
        RunError: if the run cannot be loaded, or no worker lives to load it.
    """
    count = min(jobs, worklist.total)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    workers: list[Worker] = []
    try:
        workers.extend(Worker(place, context, options, threads_each(count)) for place in range(count))
        while not worklist.over:
            for worker in workers:
                if worker.idle and (task := worklist.take()) is not None:
                    worker.give(task)
                    progress.begin(worker.place, task.name)
            for worker in _speaking(workers):
                for message in worker.messages():
                    _hear(worker, message, worklist, progress)
                if not worker.alive:
                    workers.remove(worker)
                    workers += _successors(worker, workers, worklist, progress)
    finally:
        _stop(workers)


class Worker:
    """A worker process as its command sees it.

    Args:
        place: its line among the progress bars.
        context: makes processes.
        options: what inputs are predicted with.
        threads: of torch.
    """

    def __init__(self, place: int, context: Any, options: PredictOptions, threads: int) -> None:
        self.place = place
        self.task: Task | None = None
        self.ready = False
        self.alive = True
        self.last_words: str | None = None
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, options, place, threads), daemon=True)
        self.process.start()
        theirs.close()  # so that the pipe ends with the process
        self.again: Callable[[], Worker] = lambda: Worker(place, context, options, threads)

    @property
    def idle(self) -> bool:
        """Whether it can take an input."""
        return self.ready and self.alive and self.task is None

    def give(self, task: Task) -> None:
        """Hand over an input; of one that died meanwhile ``messages`` will tell."""
        self.task = task
        try:
            self.pipe.send(task)
        except OSError:
            return

    def messages(self) -> Sequence[Message]:
        """Return what it has said since, and note whether it has ended."""
        said: list[Message] = []
        ended = not self.process.is_alive()  # before the last look, so that nothing it said is missed
        try:
            while self.pipe.poll():
                said.append(self.pipe.recv())
        except (EOFError, OSError):
            ended = True
        if ended:
            self.process.join(GRACE_S)
            self.alive = False
        return said

    @property
    def cause_of_death(self) -> str:
        """Why it ended, half a sentence."""
        if self.last_words is not None:
            return f"its process ended with {self.last_words}"
        code = self.process.exitcode
        if code is not None and code < 0:
            killed = f"its process was killed ({signal.Signals(-code).name}"
            return f"{killed}; is there enough memory?)" if -code == signal.SIGKILL else f"{killed})"
        return f"its process ended with exit code {code}"


def _speaking(workers: Sequence[Worker]) -> list[Worker]:
    sources = {source: worker for worker in workers for source in (worker.pipe, worker.process.sentinel)}
    return list(dict.fromkeys(sources[source] for source in wait(list(sources), LOOK_AGAIN_S)))


def _hear(worker: Worker, message: Message, worklist: Worklist, progress: SlidesProgress) -> None:
    match message:
        case Ready():
            worker.ready = True
        case Refused(error):
            raise RunError(error)
        case Tiles(done, total):
            progress.tiles(worker.place, done, total)
        case Dying(error):
            worker.last_words = error
        case Outcome() if worker.task is not None:
            progress.end(worker.place, worker.task.name, message)
            worklist.end(worker.task, message)
            worker.task = None


def _successors(worker: Worker, others: Sequence[Worker], worklist: Worklist, progress: SlidesProgress) -> list[Worker]:
    """Settle what a dead worker was at, and return who takes its place."""
    if worker.task is not None:
        progress.lose(worker.place, worker.task.name, worker.cause_of_death)
        outcome = worklist.died(worker.task, worker.cause_of_death)
        if outcome is not None:
            progress.end(worker.place, worker.task.name, outcome)
    if worklist.over:
        return []
    if worker.ready:
        return [worker.again()]
    if not others:
        raise RunError(f"no worker lives to load the run: {worker.cause_of_death}; try fewer --jobs")
    return []


def _stop(workers: Sequence[Worker]) -> None:
    """End all workers, kindly first."""
    try:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join(GRACE_S)
    finally:
        for worker in workers:
            if worker.process.is_alive():
                worker.process.kill()
            worker.pipe.close()
