"""How a process of ours behaves below its command: deaf to the terminal, and never left behind."""

import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.connection import wait
from types import FrameType


def follow_command(kill_after_s: float | None = None) -> None:
    """Take signals from the command alone, not from its terminal, and end when the command is no more.

    SIGINT and SIGTERM raise KeyboardInterrupt from here on. Call it first in a process of ``multiprocessing``; in any
    other one there is no command to watch.

    Args:
        kill_after_s: seconds between SIGTERM and SIGKILL once the command has gone; None lets the process save what it
            has, however long that takes.
    """
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _as_interrupt)
    command = multiprocessing.parent_process()
    if command is None:
        return

    def end_with_it() -> None:
        wait([command.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=end_with_it, daemon=True).start()


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
