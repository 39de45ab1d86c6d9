"""What ``torchrun`` tells a process about itself; a process that was started without it is alone.

Several GPUs or several machines: ``torchrun --nproc-per-node 4 -m -- histoproto train ...``. (Without ``--``, torchrun
takes ``--run`` for an abbreviation of its own ``--run-path`` on Python 3.11.) Only the leader may write into the run
folder or print a result. Importing this does not import torch.
"""

import os


def is_leader() -> bool:
    """Whether this process is the only one or the first of several."""
    return _told("RANK", alone=0) == 0


def processes_here() -> int:
    """Number of training processes on this machine, one per device."""
    return _told("LOCAL_WORLD_SIZE", alone=1)


def machines() -> int:
    """Number of machines that train together."""
    return _told("WORLD_SIZE", alone=1) // processes_here()


def _told(name: str, *, alone: int) -> int:
    """Read one of torchrun's variables; clusters set some of the same names without starting any processes."""
    return int(os.environ[name]) if "TORCHELASTIC_RUN_ID" in os.environ else alone
