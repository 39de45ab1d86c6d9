"""Class maps by code that torch makes for one network, one size of images and the machine at hand.

It reads and writes memory less often than one operator after the other, and has the weights packed as the processor
likes them (torch calls that freezing), so the model must not train any more.
"""

import os
import sys
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


def compile_maps(model: TissueModel) -> None:
    """Let a model compute its class maps by compiled code, made at the first image of a size.

    Args:
        model: trained, in evaluation mode, where it will compute; changed in place.

    Raises:
        ConfigError: if nothing can be compiled on this machine; ``class_maps`` raises it if the network cannot.
    """
    from torch._inductor import config

    _keep_what_is_compiled()
    config.freezing = True  # of the whole process: nothing else is compiled there
    device = next(model.parameters()).device
    with _explained():
        torch.compile(torch.neg)(torch.zeros(1, device=device))
    compiled = torch.compile(model.class_maps)

    def class_maps(images: Float[Tensor, "batch 3 height width"]) -> ClassMaps:
        with _explained():
            maps: ClassMaps = compiled(images)
        return maps

    vars(model)["class_maps"] = class_maps  # found before the method of its class
    sys.stderr.write(
        "Compiling the network at the first image of a size, which takes up to a minute; what is compiled stays in "
        f"{os.environ[CACHE_VARIABLE]}\n"
    )


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


def _keep_what_is_compiled() -> None:
    """Let torch keep it in the user's cache rather than in a temporary folder, unless the user has named another."""
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    temporary = default_cache_dir()  # torch puts it into the environment, too
    if os.environ.get(CACHE_VARIABLE, temporary) == temporary:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        os.environ[CACHE_VARIABLE] = str(caches / "histoproto" / "compiled")
