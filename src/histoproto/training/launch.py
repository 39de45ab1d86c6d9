"""What ``torchrun`` tells a process about itself; a process that was started without it is alone.

Several GPUs or several machines: ``torchrun --nproc-per-node 4 -m histoproto train ...``. Only the leader may
write into the run folder or print a result. Importing this does not import torch.
"""

import os


def is_leader() -> bool:
    """Whether this process is the only one or the first of several."""
    return int(os.environ.get("RANK", "0")) == 0


def processes_here() -> int:
    """Number of training processes on this machine, one per device."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def machines() -> int:
    """Number of machines that train together."""
    return int(os.environ.get("WORLD_SIZE", "1")) // processes_here()
