"""Progress bars with time to go, for anything that may take more than two seconds."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

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


@contextmanager
def progress_bar(description: str, total: int) -> Iterator[Advance]:
    """Show one bar while the block runs and yield the function that advances it."""
    listener = _listener.get()
    if listener is not None:
        yield _telling(listener, total)
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
