"""What goes wrong on a machine, done to real processes: no hooks in the product, Linux's ``/proc`` tells who is who."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from histoproto.commands.slide_state import LOCK, STATE

RESULTS_APART = {STATE, LOCK}
"""Files of an input that tell when and where, rather than what."""


def picture(path, seed=0, side_px=64):
    """Write a picture; the larger, the slower."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (side_px, side_px, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, compress_level=1)
    return path


def slow_and_quick(folder, slow_px):
    """Write one slow picture and three quick ones into a new folder."""
    picture(folder / "slow.png", 9, slow_px)
    for number in range(3):
        picture(folder / f"quick{number}.png", number)
    return folder


def wait_for(condition, seconds=60.0, every=0.005):
    """Return the first true value of a condition."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it did not get that far"
        time.sleep(every)
    return value


def at_work(folder):
    """Return the process that holds the folder of an input, or None."""
    lock = folder / LOCK
    if not lock.is_file():
        return None
    inode = str(lock.stat().st_ino)
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if "->" not in fields and fields[1] == "FLOCK" and fields[5].rsplit(":", 1)[1] == inode:
            return int(fields[4])
    return None


def processes_below(pid):
    """Return all descendants of a process that live."""
    below = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = entry.read_text().rsplit(") ", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if after_name[0] != "Z":
            below.setdefault(int(after_name[1]), []).append(int(entry.parent.name))
    found, new = set(), {pid}
    while new:
        new = {child for parent in new for child in below.get(parent, [])} - found
        found |= new
    return found


def lives(pid):
    """Return whether a process runs; one that only waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def results(out):
    """Return the bytes of all results below a folder."""
    return {
        str(file.relative_to(out)): file.read_bytes()
        for file in sorted(out.glob("*/*"))
        if file.name not in RESULTS_APART
    }


@contextmanager
def meanwhile(act):
    """Run a function beside the block, and let its failure be the test's."""
    with ThreadPoolExecutor(1) as thread:
        acting = thread.submit(act)
        yield
        acting.result()


def kill_whoever_is_at(folder, times=1):
    """Return a function that kills so many processes in the midst of an input."""

    def another(last):
        pid = at_work(folder)
        return pid if pid not in (last, os.getpid()) else None

    def kill():
        last = None
        for _ in range(times):
            last = wait_for(partial(another, last))
            os.kill(last, signal.SIGKILL)

    return kill
