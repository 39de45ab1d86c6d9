"""What is known of one predicted input: ``state.json`` in its folder, and the lock of whoever works on it.

Contract: ``state.json`` is removed before an input is begun and written when all else is there, so that a folder with
a state *done* is complete; ``is_finished`` also compares the stamp and the bytes of every file. *Failed* carries the
reason. There is no state *running* on disk, where it would outlive a killed process: the lock says it, and the kernel
releases the lock with the process that holds it. An input without state and lock waits.
"""

import fcntl
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from histoproto import __version__
from histoproto.atomic import write_json

SCHEMA = "histoproto/slide/1"
STATE, LOCK = "state.json", ".lock"


@dataclass(frozen=True)
class SlideState:
    """How an input ended."""

    state: Literal["done", "failed"]
    name: str
    """Of its folder."""
    input: str
    """Absolute path of the image."""
    stamp: dict[str, Any] | None
    """All that the results depend on; None where there are none."""
    error: str | None
    """Why it failed, in one sentence."""
    started: str
    """ISO 8601, UTC."""
    seconds: float
    """From start to end."""
    host: str
    version: str
    """Of histoproto."""
    files: dict[str, int]
    """Bytes of each file of the results."""


class Stopwatch:
    """When an input was begun, and how long ago that is."""

    def __init__(self) -> None:
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self._begin = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since then, to the millisecond."""
        return round(time.monotonic() - self._begin, 3)


def done(folder: Path, file: Path, stamp: dict[str, Any], watch: Stopwatch) -> SlideState:
    """Return the state of an input whose results all lie in its folder."""
    files = {entry.name: entry.stat().st_size for entry in sorted(folder.iterdir()) if _is_result(entry)}
    return _state("done", folder, file, watch, stamp=stamp, files=files)


def failed(folder: Path, file: Path, error: str, watch: Stopwatch) -> SlideState:
    """Return the state of an input that could not be predicted."""
    return _state("failed", folder, file, watch, error=error)


def _state(
    state: Literal["done", "failed"],
    folder: Path,
    file: Path,
    watch: Stopwatch,
    stamp: dict[str, Any] | None = None,
    error: str | None = None,
    files: dict[str, int] | None = None,
) -> SlideState:
    place, host = str(file.absolute()), socket.gethostname()
    return SlideState(
        state, folder.name, place, stamp, error, watch.started, watch.seconds, host, __version__, files or {}
    )


def _is_result(entry: Path) -> bool:
    return entry.is_file() and entry.name != STATE and not entry.name.startswith(".")


def write_state(folder: Path, state: SlideState) -> None:
    """Write ``state.json`` atomically.

    Raises:
        HistoprotoError: if it cannot be written.
    """
    write_json(folder / STATE, {"schema": SCHEMA, **asdict(state)})


def read_state(folder: Path) -> SlideState | None:
    """Return how the input of a folder ended; None if nothing is known, or the file is damaged."""
    try:
        content = json.loads((folder / STATE).read_text(encoding="utf-8"))
        if content.pop("schema") != SCHEMA:
            return None
        return SlideState(**content)
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, KeyError, AttributeError):
        return None


def forget_state(folder: Path) -> None:
    """Remove ``state.json``, before results are touched."""
    (folder / STATE).unlink(missing_ok=True)


def is_finished(folder: Path, stamp: dict[str, Any]) -> bool:
    """Return whether a folder holds complete results that were made in this way.

    Args:
        folder: of one input.
        stamp: all that the results depend on, as JSON gives it back.
    """
    state = read_state(folder)
    if state is None or state.state != "done" or state.stamp != stamp:
        return False
    return all(_bytes(folder / name) == size for name, size in state.files.items())


def _bytes(file: Path) -> int | None:
    return file.stat().st_size if file.is_file() else None


@contextmanager
def slide_lock(folder: Path) -> Iterator[bool]:
    """Hold the folder of an input for this process, however it ends, and yield whether that was possible.

    Where the file system keeps no locks, or each machine its own (some network file systems), two commands may both
    predict an input; results are replaced whole, so only time is lost. There, shards keep them apart.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as handle:
        yield _try_lock(handle.fileno(), fcntl.LOCK_EX)


def is_locked(folder: Path) -> bool:
    """Return whether a process works on the folder of an input."""
    if not (folder / LOCK).is_file():
        return False
    with (folder / LOCK).open() as handle:
        return not _try_lock(handle.fileno(), fcntl.LOCK_SH)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # no locks on this file system
    return True
