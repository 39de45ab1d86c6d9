"""Lightning Fabric as training uses it: one process, or one per device under ``torchrun``."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.strategies.ddp import DDPStrategy

from histoproto.training.launch import machines, processes_here
from histoproto.training.settings import Precision

T = TypeVar("T")

FABRIC_PRECISION = {"bf16": "bf16-mixed", "fp32": "32-true"}


@contextmanager
def processes(precision: Precision) -> Iterator[Fabric]:
    """Yield Fabric on the best device of this machine, connected to the other processes if there are any.

    The connection stays until the process ends: a command may train several times, and torchrun's store, where
    processes find each other, remembers the addresses of the first time.
    """
    several = processes_here() * machines() > 1
    for library in ("lightning.fabric", "lightning.pytorch"):  # Fabric speaks through either
        logging.getLogger(library).setLevel(logging.WARNING)  # a library does not announce itself
    fabric = Fabric(
        accelerator="auto",
        devices=processes_here(),
        num_nodes=machines(),
        # a loss term may be off (weight 0, warm-up), and then its parameters are not used in that step
        strategy=DDPStrategy(find_unused_parameters=True) if several else "auto",
        precision=FABRIC_PRECISION[precision],  # type: ignore[arg-type]  # Fabric lists the words as a Literal
        plugins=[TorchElasticEnvironment() if several else LightningEnvironment()],
    )
    fabric.launch()
    with _same_again(fabric.device):
        yield fabric


def agree(fabric: Fabric, *flags: bool) -> list[bool]:
    """Return each flag as true if it is true in any process."""
    if fabric.world_size == 1:
        return list(flags)
    anywhere = torch.tensor(flags, dtype=torch.uint8, device=fabric.device)
    torch.distributed.all_reduce(anywhere, op=torch.distributed.ReduceOp.MAX)
    return [bool(flag) for flag in anywhere.tolist()]


def gather(fabric: Fabric, item: T) -> list[T]:
    """Return every process's item, in the order of their ranks, in every process."""
    if fabric.world_size == 1:
        return [item]
    items: list[T] = [item] * fabric.world_size
    torch.distributed.all_gather_object(items, item)
    return items


@contextmanager
def _same_again(device: torch.device) -> Iterator[None]:
    """Choose algorithms that give the same bits each time, so that a resumed run equals an uninterrupted one.

    Only CUDA has others; torch warns where an operation has no such algorithm.
    """
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
