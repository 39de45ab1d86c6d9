"""One input as a task: predicted under its folder's lock, its end recorded in ``state.json``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from histoproto.commands.predict_input import finished
from histoproto.commands.slide_state import (
    Stopwatch,
    done,
    failed,
    forget_state,
    slide_lock,
    write_state,
)
from histoproto.errors import DataError, HistoprotoError

if TYPE_CHECKING:
    from histoproto.commands.predict_input import Predictor


class Task(NamedTuple):
    """An input and where its results go."""

    name: str
    file: Path
    folder: Path


class Outcome(NamedTuple):
    """How a task ended; plain values, since it comes from other processes."""

    kind: Literal["done", "kept", "failed", "held"]
    """``kept``: it was finished before; ``held``: another process works on it."""
    content: dict[str, Any] | None = None
    """What ``Predictor`` returned."""
    error: str | None = None
    seconds: float = 0.0


def predict_task(predictor: "Predictor", task: Task) -> Outcome:
    """Predict an input unless it is finished or held by another process.

    What the user can mend, and what the operating system refuses, is a failure of this input alone; any other
    exception is a bug or a sick process and goes up.
    """
    watch = Stopwatch()
    try:
        with slide_lock(task.folder) as mine:
            return _predict(predictor, task, watch) if mine else Outcome("held")
    except OSError as error:
        return Outcome("failed", error=_refused(task, error), seconds=watch.seconds)


def _predict(predictor: "Predictor", task: Task, watch: Stopwatch) -> Outcome:
    try:
        if not task.file.is_file():
            raise DataError(f"{task.file}: no such file; was it moved?")
        stamp = predictor.stamp(task.file)
        kept = finished(task.folder, stamp)
        if kept is not None:
            return Outcome("kept", kept, seconds=watch.seconds)
        forget_state(task.folder)
        content = predictor(task.file, task.folder)
        write_state(task.folder, done(task.folder, task.file, stamp, watch))
    except HistoprotoError as error:
        return _failure(task, str(error), watch)
    except OSError as error:
        return _failure(task, _refused(task, error), watch)
    return Outcome("done", content, seconds=watch.seconds)


def _refused(task: Task, error: OSError) -> str:
    where = error.filename or task.file
    return f"{where}: {error.strerror or error}; check the disk and its permissions"


def _failure(task: Task, error: str, watch: Stopwatch) -> Outcome:
    try:
        write_state(task.folder, failed(task.folder, task.file, error, watch))
    except HistoprotoError as unwritten:  # a full disk: the command still says what happened
        error = f"{error} (and {unwritten})"
    return Outcome("failed", error=error, seconds=watch.seconds)


def record_death(task: Task, error: str) -> Outcome:
    """Record that an input failed because its processes died; another one that holds it now says its own."""
    try:
        with slide_lock(task.folder) as mine:
            return _failure(task, error, Stopwatch()) if mine else Outcome("held")
    except OSError as refused:
        return Outcome("failed", error=f"{error} (and {_refused(task, refused)})")


def tasks_of(files: Sequence[Path], out: Path) -> list[Task]:
    """Return a task per file in order of the names of their folders, each file once.

    Args:
        files: all inputs of a command, whatever its shard: names depend on all of them.
        out: receives a folder for each.
    """
    from histoproto.naming import unique_names

    named = dict(zip(unique_names(files), files, strict=True))
    return [Task(name, named[name], out / name) for name in sorted(named)]
