"""Memory that tensors give back stays with the process.

The C library hands every large block back to the kernel as soon as it is free, and the next tensor pays for fresh
pages: up to half of a slide's time. A process that is about to compute keeps them instead. It stays at its peak then,
and that may be a quarter higher, because a tensor does not always fit where an earlier one has been.
"""

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Names of glibc's ``malloc.h``."""


def keep_freed_memory() -> None:
    """Let the process keep the memory that it frees; does nothing where the C library is not glibc."""
    if not sys.platform.startswith("linux"):
        return
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is None:  # another C library
        return
    tune(_MMAP_MAX, 0)
    tune(_TRIM_THRESHOLD, 2**31 - 1)
    tune(_TOP_PAD, 2**26)
