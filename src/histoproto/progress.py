"""Progress bars with time to go, for anything that may take more than two seconds."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from time import monotonic

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Advance = Callable[[int], None]
"""Call with the number of items just finished."""
Listener = Callable[[int, int], None]
"""Called with the number of items finished and of all."""
LOOK_BACK_S = 3600.0
"""How far back the time to go is estimated from: a slide or an epoch may take minutes."""
SAY_EVERY_S = 30.0
"""How often a log file, which shows no bar, gets a line."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


def make_progress(*columns: str) -> Progress:
    """Return a bar on standard error, nothing where that is no terminal; columns are rich templates."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        *(TextColumn(column) for column in columns),
        console=Console(file=sys.stderr),
        disable=not sys.stderr.isatty(),
        speed_estimate_period=LOOK_BACK_S,
    )


class LogLines:
    """Stands for a bar in a log file: a line now and then, and none for what is soon done.

    Args:
        description: of what is counted.
    """

    def __init__(self, description: str) -> None:
        self._description = description
        self._began = self._said = monotonic()

    def reach(self, done: int, total: int) -> None:
        """Say how far it is and how long it may take, unless that was said lately; and the end of what took long."""
        now = monotonic()
        taken, ended = now - self._began, done >= total
        if taken < SAY_EVERY_S or not (ended or now - self._said >= SAY_EVERY_S) or not done:
            return
        self._said = now
        when = f"after {_clock(taken)}" if ended else f"{_clock(taken / done * (total - done))} left"
        sys.stderr.write(f"{self._description}: {done} of {total}, {when}\n")


def _clock(seconds: float) -> timedelta:
    return timedelta(seconds=round(seconds))


@contextmanager
def progress_bar(description: str, total: int) -> Iterator[Advance]:
    """Show one bar, or lines in a log file, while the block runs and yield the function that advances it."""
    listener = _listener.get()
    if listener is not None:
        yield _telling(listener, total)
        return
    if not sys.stderr.isatty():
        yield _telling(LogLines(description).reach, total)
        return
    with make_progress() as bars:
        task = bars.add_task(description, total=total)
        yield lambda count: bars.advance(task, count)


@contextmanager
def progress_told_to(listener: Listener) -> Iterator[None]:
    """Have the bars inside the block told to a listener, which shows them in its own way or elsewhere."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def _telling(listener: Listener, total: int) -> Advance:
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        listener(done, total)

    return advance
