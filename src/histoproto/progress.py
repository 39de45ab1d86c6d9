"""Progress bars with time to go, for anything that may take more than two seconds."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
    )


@contextmanager
def progress_bar(description: str, total: int) -> Iterator[Advance]:
    """Show one bar while the block runs and yield the function that advances it."""
    with make_progress() as bars:
        task = bars.add_task(description, total=total)
        yield lambda count: bars.advance(task, count)
