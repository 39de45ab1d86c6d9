"""Class maps by code that torch makes for one network, one size of images and the machine at hand.

It reads and writes memory less often than one operator after the other, and has the weights packed as the processor
likes them (torch calls that freezing), so the model must not train any more.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from histoproto.contracts import ClassMaps, TissueModel
from histoproto.errors import ConfigError

CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
"""Torch's own name for where it keeps what it has compiled."""


def check_compiling(device: torch.device) -> Path:
    """Compile something small, and return where what is compiled is kept.

    Raises:
        ConfigError: if nothing can be compiled on this machine.
    """
    folder = _keep_what_is_compiled()
    with _explained():
        torch.compile(torch.neg)(torch.zeros(1, device=device))
    return folder


def compile_maps(model: TissueModel) -> None:
    """Let a model compute its class maps by compiled code, made at the first image of each size.

    Args:
        model: trained, in evaluation mode, where it will compute; changed in place. Its class maps then raise
            ConfigError where the network cannot be compiled.
    """
    from torch._inductor import config

    _keep_what_is_compiled()
    config.freezing = True  # of the whole process: nothing else is compiled there
    # a graph for any size loses its way in MiT's memory layouts; beyond eight sizes torch computes without compiling
    compiled = torch.compile(model.class_maps, dynamic=False)

    def class_maps(images: Float[Tensor, "batch 3 height width"]) -> ClassMaps:
        with _explained():
            maps: ClassMaps = compiled(images)
        return maps

    vars(model)["class_maps"] = class_maps  # found before the method of its class


@contextmanager
def _explained() -> Iterator[None]:
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"torch cannot compile here ({reason}); on a CPU it needs a C++ compiler and Python's header files (on "
            "Debian: apt install g++ python3-dev). Leave --compile out to go on without"
        ) from error


def _keep_what_is_compiled() -> Path:
    """Let torch keep it in the user's cache, unless the user has named another place, and return where.

    Where that cannot be written to, it stays torch's temporary folder.
    """
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    temporary = default_cache_dir()  # torch puts it into the environment, too
    chosen = os.environ.get(CACHE_VARIABLE, temporary)
    if chosen == temporary:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = caches / "histoproto" / "compiled"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return Path(temporary)
        chosen = os.environ[CACHE_VARIABLE] = str(folder)
    return Path(chosen)
