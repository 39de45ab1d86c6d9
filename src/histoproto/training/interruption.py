"""Ctrl-C and SIGTERM as a wish: the loop ends the step, saves, and returns."""

import signal
import threading
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """While the block runs, the first SIGINT or SIGTERM is noted; a second one acts as it did before the block.

    Signals reach Python's main thread only; in another thread nothing is noted.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


def ignore_in_worker(worker: int) -> None:
    """Let a data worker outlive signals that reach all processes of a job: the step still needs its batch.

    Args:
        worker: the worker's number, which ``DataLoader`` hands over.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
