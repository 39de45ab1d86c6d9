"""Where networks compute."""

import torch


def fastest_device() -> torch.device:
    """Return this process's GPU where torch has one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def take_gpu(place: int) -> None:
    """Give this process one of the machine's GPUs, so that processes side by side do not share one while others idle.

    Args:
        place: the process's number among them, from 0; where there are more processes than GPUs, it goes round.
    """
    if torch.cuda.is_available():
        torch.cuda.set_device(place % torch.cuda.device_count())
